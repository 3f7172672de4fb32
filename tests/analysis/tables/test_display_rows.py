"""Table 1 as rows of text."""

from orchestrator.analysis.tables.display_rows import display_rows
from orchestrator.analysis.tables.table1 import table1
from orchestrator.store.frames import Frames


def test_rows_hold_estimates_and_published_values(frames: Frames) -> None:
    table = table1(frames)
    rows = display_rows(table)
    assert all(len(row.cells) == 4 for row in rows)
    term = table.columns[3].model["hessian_lambda_max"]  # type: ignore[index]
    assert rows[0].cells[3] == f"{term.estimate:.4g}*** ({term.standard_error:.2g})"
    assert rows[4].label.strip() == "the paper"
    assert rows[4].cells == ("-0.05*** (0.004)", "-0.0017† (0.001)", "-0.083*** (0.006)", "-0.0453*** (0.005)")
    validation = next(row for row in rows if "validation accuracy" in row.label)
    assert validation.cells[0] == validation.cells[2] == ""
    assert {row.label for row in rows if not row.small} >= {"constant", "F", "AIC", "R²", "N (trials)"}


def test_models_that_cannot_be_fitted_are_shown_as_dashes(empty: Frames) -> None:
    rows = display_rows(table1(empty))
    assert rows[0].cells == ("-",) * 4
    assert rows[4].cells[0] == "-0.05*** (0.004)"

"""Table 1: regressions of accuracy changes on changes of lambda_max, with and without the validation accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.published import CONSTANT, TABLE1, PublishedModel
from orchestrator.analysis.quantities import LAMBDA_MAX, OOD, TEST, VALIDATION
from orchestrator.analysis.tables.record_changes import RecordChanges, record_changes
from orchestrator.analysis.tables.regression import FittedModel, Term, fit
from orchestrator.store.frames import Frames

RESPONSES = {TEST: "test accuracy", OOD: "OOD accuracy"}
REGRESSORS: dict[str, tuple[str, ...]] = {"only maxeig": (LAMBDA_MAX,), "maxeig + val acc": (LAMBDA_MAX, VALIDATION)}
TERMS = {LAMBDA_MAX: "Δ lambda_max", VALIDATION: "Δ validation accuracy [points]", CONSTANT: "constant"}
_LATEX = {LAMBDA_MAX: r"$\Delta\lambda_{\max}$", VALIDATION: r"$\Delta$validation accuracy", CONSTANT: "constant"}


@dataclass(frozen=True)
class Table1Column:
    """One model of the table."""

    response: str
    regressors: str
    model: FittedModel | None
    """None if there are too few changes, or the regressors are collinear."""

    @property
    def published(self) -> PublishedModel:
        """The same model in the paper."""
        return TABLE1[self.response, self.regressors]

    @property
    def title(self) -> str:
        """Response and regressors."""
        return f"Δ {RESPONSES[self.response]}: {self.regressors}"

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms."""
        return (CONSTANT, *REGRESSORS[self.regressors])


@dataclass(frozen=True)
class Table1:
    """Four models fitted to the same changes."""

    columns: tuple[Table1Column, ...]
    used: RecordChanges
    epoch_0: bool
    """Whether the change from the untrained model is included."""


def table1(frames: Frames, epoch_0: bool = False) -> Table1:
    """Fits the four models to the changes that are finite in every column."""
    used = record_changes(frames, [*RESPONSES, LAMBDA_MAX, VALIDATION], first=0 if epoch_0 else 1)
    columns = [
        Table1Column(response, name, fit(used.rows, response, regressors))
        for response in RESPONSES
        for name, regressors in REGRESSORS.items()
    ]
    return Table1(tuple(columns), used, epoch_0)


def stars(p: float) -> str:
    """The paper's significance marks: *** if p < 0.01, ** if p < 0.05, † otherwise; empty if p is not finite."""
    return "***" if p < 0.01 else "**" if p < 0.05 else "†" if np.isfinite(p) else ""


def table1_csv(tables: Sequence[Table1]) -> pd.DataFrame:
    """One row per table, model and term, with the published numbers."""
    return pd.DataFrame(
        [_csv_row(table, column, name) for table in tables for column in table.columns for name in column.terms]
    )


def _csv_row(table: Table1, column: Table1Column, name: str) -> dict[str, object]:
    model, published = column.model, column.published
    printed = published.terms[name]
    return {
        "response": column.response,
        "model": column.regressors,
        "with_epoch_0": table.epoch_0,
        "term": name,
        **_csv_numbers(model[name] if model else None),
        **{key: getattr(model, key) if model else np.nan for key in ("f", "aic", "r2")},
        "n": len(table.used.rows),
        "trials": table.used.trials,
        "published_estimate": printed.estimate,
        "published_standard_error": printed.standard_error,
        "published_stars": printed.stars,
        "published_f": published.f,
        "published_aic": published.aic,
        "published_n": published.n,
    }


def _csv_numbers(term: Term | None) -> dict[str, object]:
    names = ["estimate", "standard_error", "p", "clustered_error", "clustered_p"]
    names += ["fixed_effects_estimate", "fixed_effects_error", "partial_r2"]
    numbers: dict[str, object] = {name: getattr(term, name) if term else np.nan for name in names}
    numbers["stars"] = stars(term.p) if term else ""
    numbers["clustered_stars"] = stars(term.clustered_p) if term else ""
    return numbers


def table1_latex(table: Table1) -> str:
    """A LaTeX tabular in the format of the paper, with the clustered standard error below each one."""
    lines = [
        r"% stars: ** p < 0.05, *** p < 0.01, \dag not significant; clustered standard errors in brackets",
        r"\begin{tabular}{lrrrr}",
        r"\hline",
        r" & \multicolumn{2}{c}{In-Distribution Test Accuracy} & \multicolumn{2}{c}{OOD Test Accuracy} \\",
        " & " + " & ".join(column.regressors for column in table.columns) + r" \\",
        r"\hline",
    ]
    for name, label in _LATEX.items():
        cells = [_latex_cells(column, name) for column in table.columns]
        for position, first in enumerate((f"{label} ", " ", " ")):
            lines.append(f"{first}& " + " & ".join(cell[position] for cell in cells) + r" \\")
    lines.append(r"\hline")
    for label, attribute, form in (("F-test", "f", "{:.0f}"), ("AIC", "aic", "{:.0f}"), ("$R^2$", "r2", "{:.3f}")):
        values = [form.format(getattr(c.model, attribute)) if c.model else "--" for c in table.columns]
        lines.append(f"{label} & " + " & ".join(values) + r" \\")
    lines.append("N & " + " & ".join([str(len(table.used.rows))] * len(table.columns)) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _latex_cells(column: Table1Column, name: str) -> tuple[str, str, str]:
    if column.model is None or name not in column.terms:
        return "", "", ""
    term = column.model[name]
    mark = stars(term.p).replace("†", r"\dag")
    return f"${term.estimate:.4g}^{{{mark}}}$", f"({term.standard_error:.2g})", f"[{term.clustered_error:.2g}]"

"""Table 1 on the page: ours, what should stand beside it, and the paper's."""

import math
from html import escape

from orchestrator.analysis.tables.regression import CONSTANT
from orchestrator.analysis.tables.table1 import LAMBDA, REGRESSORS, TERMS, VALIDATION, Column, Table1, stars

_ORDER = (LAMBDA, VALIDATION, CONSTANT)


def table_html(table: Table1) -> str:
    """The four models side by side, a block of lines a term."""
    head = "".join(f"<th>{escape(column.title)}</th>" for column in table.columns)
    body = "".join(_term(table, name) for name in _ORDER)
    body += _line("F", [f"{c.model.f:,.0f}" if c.model else "-" for c in table.columns])
    body += _line("  the paper", [f"{c.published.f:,.0f}" for c in table.columns], small=True)
    body += _line("AIC", [f"{c.model.aic:,.0f}" if c.model else "-" for c in table.columns])
    body += _line("  the paper", [f"{c.published.aic:,.0f}" for c in table.columns], small=True)
    body += _line("R²", [f"{c.model.r2:.3f}" if c.model else "-" for c in table.columns])
    body += _line("N (trials)", [f"{len(table.used.rows):,} ({table.used.trials})"] * len(table.columns))
    body += _line("  the paper", [f"{c.published.n:,}" for c in table.columns], small=True)
    return (
        f'<div class="scroll table1"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _term(table: Table1, name: str) -> str:
    kinds = [
        (TERMS[name], _ours),
        ("  error by trial", _clustered),
        ("  with trial effects", _fixed),
        ("  partial R²", _partial),
        ("  the paper", _published),
    ]
    if name == CONSTANT:
        kinds = [kinds[0], kinds[1], kinds[4]]
    lines = [
        _line(label, [_cell(column, name, told) for column in table.columns], small=place > 0)
        for place, (label, told) in enumerate(kinds)
    ]
    return "".join(lines)


def _cell(column: Column, name: str, told: object) -> str:
    if name != CONSTANT and name not in REGRESSORS[column.regressors]:
        return ""
    if told is _published:
        return _published(column, name)
    if column.model is None:
        return "-"
    assert callable(told)
    return str(told(column, name))


def _ours(column: Column, name: str) -> str:
    assert column.model is not None
    term = column.model[name]
    return f"{_number(term.estimate)}{stars(term.p)} ({term.standard_error:.2g})"


def _clustered(column: Column, name: str) -> str:
    assert column.model is not None
    term = column.model[name]
    return f"{stars(term.clustered_p)} ({term.clustered_error:.2g}), {_p(term.clustered_p)}"


def _fixed(column: Column, name: str) -> str:
    assert column.model is not None
    term = column.model[name]
    return f"{_number(term.fixed_effects_estimate)} ({term.fixed_effects_error:.2g})"


def _partial(column: Column, name: str) -> str:
    assert column.model is not None
    return f"{column.model[name].partial_r2:.3f}"


def _published(column: Column, name: str) -> str:
    term = column.published.terms[name]
    return f"{term.estimate:g}{term.stars} ({term.standard_error:g})"


def _line(label: str, cells: list[str], small: bool = False) -> str:
    kind = ' class="small"' if small else ""
    return f"<tr{kind}><td>{escape(label)}</td>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"

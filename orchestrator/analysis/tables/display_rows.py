"""Formats Table 1 for the page: estimates, alternative standard errors, effect sizes and published values."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.analysis.published import CONSTANT
from orchestrator.analysis.tables.regression import FittedModel, Term
from orchestrator.analysis.tables.table1 import TERMS, Table1, Table1Column, stars


@dataclass(frozen=True)
class DisplayRow:
    """One row of the table. A row in small print adds details to the row above it."""

    label: str
    cells: tuple[str, ...]
    small: bool = False


def display_rows(table: Table1) -> list[DisplayRow]:
    """The rows of the terms, followed by the rows about whole models."""
    rows = [row for name in TERMS for row in _term_rows(table, name)]
    published = [column.published for column in table.columns]
    return [
        *rows,
        DisplayRow("F", _model_cells(table, lambda model: f"{model.f:,.0f}")),
        DisplayRow("  the paper", tuple(f"{printed.f:,.0f}" for printed in published), small=True),
        DisplayRow("AIC", _model_cells(table, lambda model: f"{model.aic:,.0f}")),
        DisplayRow("  the paper", tuple(f"{printed.aic:,.0f}" for printed in published), small=True),
        DisplayRow("R²", _model_cells(table, lambda model: f"{model.r2:.3f}")),
        DisplayRow("N (trials)", (f"{len(table.used.rows):,} ({table.used.trials})",) * len(published)),
        DisplayRow("  the paper", tuple(f"{printed.n:,}" for printed in published), small=True),
    ]


def _term_rows(table: Table1, name: str) -> list[DisplayRow]:
    formats: dict[str, Callable[[Term], str]] = {
        TERMS[name]: _estimate,
        "  error by trial": _clustered,
        "  with trial effects": _fixed_effects,
        "  partial R²": lambda term: f"{term.partial_r2:.3f}",
    }
    if name == CONSTANT:
        formats = dict(list(formats.items())[:2])
    rows = [
        DisplayRow(label, tuple(_term_cell(column, name, text) for column in table.columns), small=position > 0)
        for position, (label, text) in enumerate(formats.items())
    ]
    return [*rows, DisplayRow("  the paper", tuple(_published(column, name) for column in table.columns), small=True)]


def _term_cell(column: Table1Column, name: str, text: Callable[[Term], str]) -> str:
    if name not in column.terms:
        return ""
    return text(column.model[name]) if column.model else "-"


def _model_cells(table: Table1, text: Callable[[FittedModel], str]) -> tuple[str, ...]:
    return tuple(text(column.model) if column.model else "-" for column in table.columns)


def _estimate(term: Term) -> str:
    return f"{_number(term.estimate)}{stars(term.p)} ({term.standard_error:.2g})"


def _clustered(term: Term) -> str:
    p = "p < 0.001" if term.clustered_p < 0.001 else f"p {term.clustered_p:.3f}"
    return f"{stars(term.clustered_p)} ({term.clustered_error:.2g}), {p}"


def _fixed_effects(term: Term) -> str:
    return f"{_number(term.fixed_effects_estimate)} ({term.fixed_effects_error:.2g})"


def _published(column: Table1Column, name: str) -> str:
    if name not in column.terms:
        return ""
    term = column.published.terms[name]
    return f"{term.estimate:g}{term.stars} ({term.standard_error:g})"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"

"""Table 1: how the test accuracies change with lambda_max, alone and beside the validation accuracy.

As the paper has it, what it should have shown beside it, and the paper's own numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.analysis.tables.epoch_changes import Changes, changes
from orchestrator.analysis.tables.regression import CONSTANT, Model, Term, fit

LAMBDA, VALIDATION = "hessian_lambda_max", "accuracy_validation"
RESPONSES = {"accuracy_test": "test accuracy", "accuracy_ood": "OOD accuracy"}
REGRESSORS: dict[str, tuple[str, ...]] = {"only maxeig": (LAMBDA,), "maxeig + val acc": (LAMBDA, VALIDATION)}
TERMS = {LAMBDA: "Δ lambda_max [nats]", VALIDATION: "Δ validation accuracy [points]", CONSTANT: "constant"}
_LATEX = {LAMBDA: r"$\Delta\lambda_{\max}$", VALIDATION: r"$\Delta$validation accuracy", CONSTANT: "constant"}


@dataclass(frozen=True)
class PublishedTerm:
    """A coefficient as printed."""

    estimate: float
    standard_error: float
    stars: str


@dataclass(frozen=True)
class Published:
    """A column of the paper's Table 1."""

    terms: dict[str, PublishedTerm]
    f: float
    aic: float
    n: int = 1470


PUBLISHED = {
    ("accuracy_test", "only maxeig"): Published(
        {LAMBDA: PublishedTerm(-0.05, 0.004, "***"), CONSTANT: PublishedTerm(0.82, 0.063, "***")}, 172, 6732
    ),
    ("accuracy_test", "maxeig + val acc"): Published(
        {
            LAMBDA: PublishedTerm(-0.0017, 0.001, "†"),
            VALIDATION: PublishedTerm(0.9737, 0.006, "***"),
            CONSTANT: PublishedTerm(0.0149, 0.014, "**"),
        },
        17_410,
        2181,
    ),
    ("accuracy_ood", "only maxeig"): Published(
        {LAMBDA: PublishedTerm(-0.083, 0.006, "***"), CONSTANT: PublishedTerm(0.6719, 0.091, "***")}, 206, 7841
    ),
    ("accuracy_ood", "maxeig + val acc"): Published(
        {
            LAMBDA: PublishedTerm(-0.0453, 0.005, "***"),
            VALIDATION: PublishedTerm(0.7277, 0.033, "***"),
            CONSTANT: PublishedTerm(0.0694, 0.084, "†"),
        },
        383,
        7419,
    ),
}
"""As printed in the paper, the stars of the constants too, though 0.0149 with an error of 0.014 earns none."""


@dataclass(frozen=True)
class Column:
    """One model of the table."""

    response: str
    regressors: str
    model: Model | None
    """None where there is too little to fit."""

    @property
    def published(self) -> Published:
        """The paper's."""
        return PUBLISHED[self.response, self.regressors]

    @property
    def title(self) -> str:
        """What is explained, and by what."""
        return f"Δ {RESPONSES[self.response]}: {self.regressors}"


@dataclass(frozen=True)
class Table1:
    """The four models, on the changes they were fitted to."""

    columns: tuple[Column, ...]
    used: Changes
    epoch_0: bool
    """Whether the change from the untrained model is among them."""


def table1(epochs: pd.DataFrame, epoch_0: bool = False) -> Table1:
    """The four models of a frame of epochs. All four use the same changes, those that are finite in every column."""
    used = changes(epochs, [*RESPONSES, LAMBDA, VALIDATION], from_epoch=0 if epoch_0 else 1)
    columns = [
        Column(response, name, fit(used.rows, response, regressors))
        for response in RESPONSES
        for name, regressors in REGRESSORS.items()
    ]
    return Table1(tuple(columns), used, epoch_0)


def stars(p: float) -> str:
    """The paper's: three below 0.01, two below 0.05, a dagger where not significant."""
    return "***" if p < 0.01 else "**" if p < 0.05 else "†" if np.isfinite(p) else ""


def table1_csv(tables: Sequence[Table1]) -> pd.DataFrame:
    """One row a model and term, the paper's numbers beside ours."""
    return pd.DataFrame([row for table in tables for column in table.columns for row in _rows(table, column)])


def _rows(table: Table1, column: Column) -> list[dict[str, object]]:
    model, rows = column.model, []
    for name in (CONSTANT, *REGRESSORS[column.regressors]):
        printed = column.published.terms[name]
        rows.append(
            {
                "response": column.response,
                "model": column.regressors,
                "with_epoch_0": table.epoch_0,
                "term": name,
                **_numbers(model[name] if model else None),
                "f": model.f if model else np.nan,
                "aic": model.aic if model else np.nan,
                "r2": model.r2 if model else np.nan,
                "n": len(table.used.rows),
                "trials": table.used.trials,
                "published_estimate": printed.estimate,
                "published_standard_error": printed.standard_error,
                "published_stars": printed.stars,
                "published_f": column.published.f,
                "published_aic": column.published.aic,
                "published_n": column.published.n,
            }
        )
    return rows


def _numbers(term: Term | None) -> dict[str, object]:
    names = ["estimate", "standard_error", "p", "clustered_error", "clustered_p"]
    names += ["fixed_effects_estimate", "fixed_effects_error", "partial_r2"]
    found: dict[str, object] = {name: getattr(term, name) if term else np.nan for name in names}
    found["stars"] = stars(term.p) if term else ""
    found["clustered_stars"] = stars(term.clustered_p) if term else ""
    return found


def table1_latex(table: Table1) -> str:
    """A tabular of the paper's form; its numbers in the upper line of each term, clustered ones below, ours alone."""
    lines = [
        r"% stars: ** p < 0.05, *** p < 0.01, \dag not significant; in brackets errors by trial",
        r"\begin{tabular}{lrrrr}",
        r"\hline",
        r" & \multicolumn{2}{c}{In-Distribution Test Accuracy} & \multicolumn{2}{c}{OOD Test Accuracy} \\",
        " & " + " & ".join(column.regressors for column in table.columns) + r" \\",
        r"\hline",
    ]
    for name in (LAMBDA, VALIDATION, CONSTANT):
        cells = [_cells(column, name) for column in table.columns]
        lines += [f"{_LATEX[name]} & " + " & ".join(c[0] for c in cells) + r" \\"]
        lines += [" & " + " & ".join(c[1] for c in cells) + r" \\"]
        lines += [" & " + " & ".join(c[2] for c in cells) + r" \\"]
    lines.append(r"\hline")
    for label, attribute, form in (("F-test", "f", "{:.0f}"), ("AIC", "aic", "{:.0f}"), ("$R^2$", "r2", "{:.3f}")):
        values = [form.format(getattr(c.model, attribute)) if c.model else "--" for c in table.columns]
        lines.append(f"{label} & " + " & ".join(values) + r" \\")
    lines.append("N & " + " & ".join([str(len(table.used.rows))] * len(table.columns)) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _cells(column: Column, name: str) -> tuple[str, str, str]:
    if column.model is None or name not in (CONSTANT, *REGRESSORS[column.regressors]):
        return "", "", ""
    term = column.model[name]
    mark = stars(term.p).replace("†", r"\dag")
    return f"${term.estimate:.4g}^{{{mark}}}$", f"({term.standard_error:.2g})", f"[{term.clustered_error:.2g}]"

"""Figure 2: the number of probes required by Chebyshev's inequality, by the published and the corrected formula."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, empty
from orchestrator.analysis.published import PROBES
from orchestrator.store.frames import Frames

CONDITIONS = {"strict": (0.1, 0.05), "relaxed": (0.2, 0.1)}
"""Relative error epsilon and failure probability delta. Errors below 1 nat are always allowed."""
_EPSILON_ABS = 1.0
_BOX = ["epochs", "mean", "low", "q1", "median", "q3", "high", "largest"]
_COLUMNS = ["trial_id", "label", "condition", "formula", *_BOX]


def probes_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per trial, condition and formula, with the box plot over the epochs of the trial.

    Whiskers extend to the last values within 1.5 interquartile ranges of the box. Formula ``published`` is equation
    (16) of the paper. ``corrected`` is its square, because the variance of a mean of i samples is Var[X]/i, not
    Var[X]/i^2 as in the paper.
    """
    measured = frames.epochs[["trial_id", "algorithm1_trace", "algorithm1_trace_std"]]
    measured = measured[np.isfinite(measured.algorithm1_trace) & np.isfinite(measured.algorithm1_trace_std)]
    if not len(measured):
        return empty(_COLUMNS)
    labels = dict(zip(frames.trials.trial_id, frames.trials.label, strict=True))
    rows = []
    for condition in CONDITIONS:
        printed = required_probes(measured, condition)
        for formula, needed in (("published", printed), ("corrected", printed**2)):
            for trial_id, values in needed.groupby(measured.trial_id, sort=False):
                rows.append([trial_id, labels[trial_id], condition, formula, *_box(values.to_numpy())])
    return pd.DataFrame(rows, columns=_COLUMNS)


def required_probes(epochs: pd.DataFrame, condition: str) -> "pd.Series[float]":
    """The number of probes by equation (16) of the paper, for each row of `Frames.epochs`."""
    epsilon, delta = CONDITIONS[condition]
    allowed = (epsilon * epochs.algorithm1_trace.abs()).clip(lower=_EPSILON_ABS)
    required: pd.Series[float] = epochs.algorithm1_trace_std / (np.sqrt(delta) * allowed)
    return required


def _box(values: np.ndarray) -> list[float]:
    q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    reach = 1.5 * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    return [len(values), values.mean(), inside.min(), q1, median, q3, inside.max(), values.max()]


def draw_probes(data: pd.DataFrame) -> Canvas:
    """Draws one panel per condition (row) and formula (column), with a box per trial and a line at the overall mean."""
    drawn, axes = canvas(2, 2, height=2.2)
    for position, panel in enumerate(axes):
        condition, formula = list(CONDITIONS)[position // 2], ("published", "corrected")[position % 2]
        part = data[(data.condition == condition) & (data.formula == formula)]
        positions = np.arange(len(part))
        # Three artists per panel. matplotlib's boxplot draws five per trial, which takes half a megabyte of SVG.
        panel.vlines(positions, part.low, part.high, color=COLOURS[0], lw=0.6)
        panel.vlines(positions, part.q1, part.q3, color=COLOURS[5], lw=max(0.8, min(9.0, 150 / max(len(part), 1))))
        panel.plot(positions, part["median"], "_", color=COLOURS[0], ms=4, mew=1.2)
        mean = _mean(part)
        panel.axhline(mean, color=COLOURS[1], ls="--", lw=1)
        panel.set_title(f"{condition}, {formula}: mean {_number(mean)}")
        panel.set_xticks([])
        panel.set_ylabel("probes needed")
    for panel in axes[2:]:
        panel.set_xlabel("trials")
    return drawn


def summarise_probes(data: pd.DataFrame) -> str:
    """States the mean numbers of probes, and those in the paper."""
    parts = []
    for condition, published in PROBES.items():
        means = {
            f: _mean(data[(data.condition == condition) & (data.formula == f)]) for f in ("published", "corrected")
        }
        parts.append(
            f"{condition}: {_number(means['published'])} by the published formula (paper: {published}), "
            f"{_number(means['corrected'])} by the corrected one"
        )
    return "Mean number of probes over all epochs: " + "; ".join(parts) + "."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _mean(part: pd.DataFrame) -> float:
    return float(np.average(part["mean"], weights=part.epochs)) if len(part) else float("nan")


FIGURE = Figure(
    "figure2",
    "Probes required for the trace",
    "Computed from the standard deviation of Algorithm 1's own probes. Strict: with probability 95%, the error is "
    "below 10% or 1 nat, whichever is larger; relaxed: 90%, and 20% or 1 nat. Boxes: epochs of a trial.",
    "Algorithm 1 among the estimators",
    probes_data,
    draw_probes,
    summarise_probes,
)

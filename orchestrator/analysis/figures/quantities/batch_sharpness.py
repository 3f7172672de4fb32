"""Batch sharpness beside lambda_max and the stability threshold."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, empty
from orchestrator.analysis.figures.quantities.example_panels import CAPTION, EXAMPLES, example_panels
from orchestrator.analysis.figures.quantities.plain_threshold import plain_threshold
from orchestrator.analysis.figures.quantities.settings import example_trials, finite_rows, setting_of_trials
from orchestrator.analysis.quantities import LAMBDA_MAX, quantity
from orchestrator.counted import counted
from orchestrator.store.frames import Frames

BATCH_SHARPNESS = "stability_batch_sharpness"
ERROR, LOW, HIGH = (f"{BATCH_SHARPNESS}_{part}" for part in ("standard_error", "low", "high"))
_COLUMNS = ["trial_id", "setting", "epoch", "batch_sharpness", "low", "high", "lambda_max", "threshold"]


def batch_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per record of up to 6 trials that have the batch sharpness. The threshold is NaN if it is not known."""
    known = finite_rows(frames, BATCH_SHARPNESS)
    chosen = example_trials(frames, known.trial_id, EXAMPLES).values()
    known = known[known.trial_id.isin(chosen)]
    if known.empty:
        return empty(_COLUMNS)
    return pd.DataFrame(
        {
            "trial_id": known.trial_id,
            "setting": known.trial_id.map(setting_of_trials(frames)),
            "epoch": known.epoch,
            "batch_sharpness": known[BATCH_SHARPNESS],
            "low": _end(known, LOW, -2.0),
            "high": _end(known, HIGH, 2.0),
            "lambda_max": known[LAMBDA_MAX].replace([np.inf, -np.inf], np.nan),
            "threshold": plain_threshold(frames, known),
        }
    ).reset_index(drop=True)


def _end(known: pd.DataFrame, column: str, errors: float) -> "pd.Series[float]":
    """One end of the 95% interval. Records of earlier versions have only a standard error."""
    end = known[BATCH_SHARPNESS] + errors * known[ERROR] if ERROR in known else known[BATCH_SHARPNESS]
    return known[column].fillna(end) if column in known else end


def draw_batch(data: pd.DataFrame) -> Canvas:
    """Draws one panel per trial."""
    drawn, panels = example_panels(data, "curvature")
    for panel, part in panels:
        panel.plot(part.epoch, part.batch_sharpness, color=COLOURS[0], lw=1.4, label=quantity(BATCH_SHARPNESS).label)
        panel.fill_between(part.epoch, part.low, part.high, color=COLOURS[0], alpha=0.25, lw=0)
        sharp = part.dropna(subset=["lambda_max"])
        panel.plot(sharp.epoch, sharp.lambda_max, "--", color=COLOURS[1], lw=1.2, label=quantity(LAMBDA_MAX).label)
        panel.plot(part.epoch, part.threshold, color=COLOURS[7], lw=1, label="stability threshold")
        panel.set_ylim(bottom=min(0.0, float(part.low.fillna(part.batch_sharpness).min())))
    handles, names = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper center", ncols=3)
    return drawn


def summarise_batch(data: pd.DataFrame) -> str:
    """States the ratios at the last record, as ranges over the trials."""
    last = data.loc[data.groupby("trial_id", sort=False).epoch.idxmax()]
    found = [
        (f"batch sharpness / {name}", last.batch_sharpness / last[column])
        for name, column in (("lambda_max", "lambda_max"), ("threshold", "threshold"))
    ]
    parts = [f"{name} {_range(values.dropna())}" for name, values in found if values.notna().any()]
    return (
        f"{counted(len(last), 'trial')}, at the last record: {', '.join(parts)}."
        if parts
        else f"{counted(len(last), 'trial')}."
    )


def _range(values: "pd.Series[float]") -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


FIGURE = Figure(
    "batch_sharpness",
    "Batch sharpness beside lambda_max",
    "Batch sharpness is the mean over minibatches of the curvature of the minibatch loss along its own gradient; the "
    "band is its 95% interval. Grey: the threshold of SGD, which other optimizers do not have in these units. "
    + CAPTION,
    "batch_sharpness among the estimators",
    batch_data,
    draw_batch,
    summarise_batch,
)

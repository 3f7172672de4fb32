"""Figure 1: loss, accuracy and curvature of groups of trials that differ in one key."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty, epoch_axis
from orchestrator.analysis.groups import group_by
from orchestrator.analysis.quantities import (
    LAMBDA_MAX,
    LOSS,
    TRACE,
    VALIDATION,
    VALIDATION_R2,
    axis_label,
    has_accuracies,
    in_shown_unit,
)
from orchestrator.analysis.verdicts.explorers import group_key
from orchestrator.counted import counted
from orchestrator.store.frames import Frames

WINDOW = 5
"""Epochs of the running mean and standard deviation."""
_COLUMNS = ["group", "trial_id", "epoch", "quantity", "value", "mean", "std"]


def explorers_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per trial, epoch and quantity, with its value and the mean and standard deviation of the last 5 epochs.

    Quantities: training loss, validation accuracy (R2 if no epoch has an accuracy), lambda_max, trace.
    Diverged trials are included up to the last finite loss. Values are in display units.
    """
    key = group_key(frames, by)
    if key is None:
        return empty(_COLUMNS)
    members = _largest_block(group_by(frames, key).members)
    if not len(members):
        return empty(_COLUMNS)
    epochs = frames.epochs.merge(members[["trial_id", "value"]], on="trial_id")
    parts = []
    for column in (LOSS, VALIDATION if has_accuracies(epochs) else VALIDATION_R2, LAMBDA_MAX, TRACE):
        part = epochs[["trial_id", "epoch"]].copy()
        part.insert(0, "group", [_group_label(key, value) for value in epochs.value])
        part["quantity"] = column
        part["value"] = in_shown_unit(epochs, column).replace([np.inf, -np.inf], np.nan)
        parts.append(part.dropna(subset=["value"]))
    found = pd.concat(parts, ignore_index=True)
    rolling = found.groupby(["quantity", "trial_id"], sort=False).value.rolling(WINDOW, min_periods=1)
    found["mean"] = rolling.mean().to_numpy()
    found["std"] = rolling.std(ddof=0).to_numpy()
    return pd.DataFrame(found[_COLUMNS])


def _group_label(key: str, value: object) -> str:
    return f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"


def _largest_block(members: pd.DataFrame) -> pd.DataFrame:
    """The largest set of trials that differ only in the key and the seed."""
    if not len(members):
        return members
    return pd.DataFrame(members[members.block == members.block.value_counts(sort=True).index[0]])


def draw_explorers(data: pd.DataFrame) -> Canvas:
    """Draws four panels with one line and band per trial, coloured by group."""
    drawn, axes = canvas(2, 2)
    groups = list(dict.fromkeys(data.group))
    score = VALIDATION_R2 if (data.quantity == VALIDATION_R2).any() else VALIDATION
    for position, (panel, column) in enumerate(zip(axes, (LOSS, score, LAMBDA_MAX, TRACE), strict=True)):
        part = data[data.quantity == column]
        for number, group in enumerate(groups):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            for first, (_, trial) in enumerate(part[part.group == group].groupby("trial_id", sort=False)):
                label = group if first == 0 and position == 0 else None
                panel.plot(trial.epoch, trial["mean"], style, color=colour, lw=1.1, label=label)
                low, high = trial["mean"] - trial["std"], trial["mean"] + trial["std"]
                panel.fill_between(trial.epoch, low, high, color=colour, alpha=0.12, lw=0)
        panel.set_ylabel(axis_label(column))
        if not len(part):
            panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center")
    for panel in axes[2:]:
        epoch_axis(panel)
    drawn.legend(loc="outside upper center", ncols=min(len(groups), 4))
    return drawn


def summarise_explorers(data: pd.DataFrame) -> str:
    """States the mean final lambda_max of each group."""
    part = data[data.quantity == LAMBDA_MAX]
    last = part.groupby(["group", "trial_id"], sort=False)["mean"].last().groupby("group", sort=False)
    means = ", ".join(f"{group}: {values.mean():.3g} ({counted(len(values), 'trial')})" for group, values in last)
    return f"Mean lambda_max at the end of training by group: {means or 'not measured'}."


FIGURE = Figure(
    "figure1",
    "Groups of hyperparameters explore differently",
    "The largest set of trials that differ only in one key and in their seeds. Lines: mean of the last 5 epochs; "
    "bands: their standard deviation.",
    "trials that differ in one key besides the seed",
    explorers_data,
    draw_explorers,
    summarise_explorers,
)

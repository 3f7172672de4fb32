"""Figure 1: groups of trials that differ in one key, and how flat or sharp their losses are."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty
from orchestrator.analysis.groups import grouped
from orchestrator.analysis.quantities import axis_label, shown
from orchestrator.analysis.verdicts.judge import group_key
from orchestrator.store.frames import Frames

QUANTITIES = ("loss_train", "accuracy_validation", "hessian_lambda_max", "hessian_trace")
WINDOW = 5
_COLUMNS = ["group", "trial_id", "epoch", "quantity", "value", "mean", "std"]


def explorers_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row a trial, epoch and quantity: its value, and mean and standard deviation of the last 5 epochs.

    Diverged trials are in it up to the epoch before the loss was no number. Values in the unit they are shown in.
    """
    key = group_key(frames, by)
    if key is None:
        return empty(_COLUMNS)
    groups = grouped(frames, key)
    members = _largest_block(groups.members)
    if not len(members):
        return empty(_COLUMNS)
    epochs = frames.epochs.merge(members[["trial_id", "value"]], on="trial_id")
    parts = []
    for column in QUANTITIES:
        part = epochs[["trial_id", "epoch"]].copy()
        part.insert(
            0, "group", [f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for value in epochs.value]
        )
        part["quantity"] = column
        part["value"] = shown(epochs, column).replace([np.inf, -np.inf], np.nan)
        parts.append(part.dropna(subset=["value"]))
    found = pd.concat(parts, ignore_index=True)
    rolling = found.groupby(["quantity", "trial_id"], sort=False).value.rolling(WINDOW, min_periods=1)
    found["mean"] = rolling.mean().to_numpy()
    found["std"] = rolling.std(ddof=0).to_numpy()
    return pd.DataFrame(found[_COLUMNS])


def _named(key: str, value: object) -> str:
    return f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"


def _largest_block(members: pd.DataFrame) -> pd.DataFrame:
    """The block with the most trials: in it, nothing but the key and the seed differ."""
    if not len(members):
        return members
    return pd.DataFrame(members[members.block == members.block.value_counts(sort=True).index[0]])


def draw_explorers(data: pd.DataFrame) -> Canvas:
    """Four panels, a line and a band a trial, a colour a group."""
    drawn, axes = canvas(2, 2)
    groups = list(dict.fromkeys(data.group))
    for place, (panel, column) in enumerate(zip(axes, QUANTITIES, strict=True)):
        part = data[data.quantity == column]
        for number, group in enumerate(groups):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
            for first, (_, trial) in enumerate(part[part.group == group].groupby("trial_id", sort=False)):
                label = group if first == 0 and place == 0 else None
                panel.plot(trial.epoch, trial["mean"], style, color=colour, lw=1.1, label=label)
                low, high = trial["mean"] - trial["std"], trial["mean"] + trial["std"]
                panel.fill_between(trial.epoch, low, high, color=colour, alpha=0.12, lw=0)
        panel.set_ylabel(axis_label(column))
        if not len(part):
            panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center")
    for panel in axes[2:]:
        panel.set_xlabel("epoch")
    drawn.legend(loc="outside upper center", ncols=min(len(groups), 4))
    return drawn


def summarise_explorers(data: pd.DataFrame) -> str:
    """The last means of lambda_max by group."""
    part = data[data.quantity == "hessian_lambda_max"]
    last = part.groupby(["group", "trial_id"], sort=False)["mean"].last().groupby("group", sort=False)
    told = ", ".join(f"{group}: {values.mean():.3g} ({len(values)} trials)" for group, values in last)
    return f"Mean of the trials' last lambda_max by group: {told or 'not measured'}."


FIGURE = Figure(
    "figure1",
    "Groups of hyperparameters explore differently",
    "Trials that differ in one key and their seeds alone; where several such blocks exist, the largest. Lines: mean of "
    "the last 5 epochs, bands: their standard deviation.",
    "trials that differ in one key beside the seed",
    explorers_data,
    draw_explorers,
    summarise_explorers,
)

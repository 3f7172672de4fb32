"""Figure 6: validation accuracy and trace of twelve trials, with the sudden drop of the trace."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, empty, epoch_axis
from orchestrator.analysis.groups import completed_trials
from orchestrator.analysis.quantities import TRACE, VALIDATION, axis_label, in_shown_unit
from orchestrator.analysis.verdicts.stopping import drops_and_peaks
from orchestrator.store.frames import Frames

TRIALS = 12
_COLUMNS = ["trial_id", "label", "epoch", "accuracy", "trace", "drop", "low", "high", "peak"]


def stopping_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per trial and epoch of 12 completed trials, evenly spaced over the sweep rather than hand-picked."""
    trials = completed_trials(frames)
    if not len(trials):
        return empty(_COLUMNS)
    chosen = trials.iloc[np.unique(np.linspace(0, len(trials) - 1, TRIALS).astype(int))]
    epochs = frames.epochs[frames.epochs.trial_id.isin(chosen)]
    found = epochs[["trial_id", "epoch"]].copy()
    found["accuracy"], found["trace"] = in_shown_unit(epochs, VALIDATION), in_shown_unit(epochs, TRACE)
    moments = drops_and_peaks(frames)[["trial_id", "drop", "low", "high", "peak"]]
    found = found.merge(frames.trials[["trial_id", "label"]], on="trial_id").merge(moments, how="left", on="trial_id")
    return found[_COLUMNS] if found.trace.notna().any() and found.accuracy.notna().any() else empty(_COLUMNS)


def draw_stopping(data: pd.DataFrame) -> Canvas:
    """Draws one panel per trial, with the accuracy in solid blue and the trace in dashed vermillion.

    A vertical line marks the drop and a band its interval.
    """
    trials = list(dict.fromkeys(data.trial_id))
    rows = -(-len(trials) // 3)
    drawn, axes = canvas(rows, 3, height=1.6, width=7.4)
    for panel in axes[len(trials) :]:
        panel.set_visible(False)
    for position, (panel, trial_id) in enumerate(zip(axes, trials, strict=False)):
        part = data[data.trial_id == trial_id]
        panel.plot(part.epoch, part.accuracy, color=COLOURS[0], lw=1.2)
        other = panel.twinx()
        known = part.dropna(subset=["trace"])
        other.plot(known.epoch, known.trace, "--", color=COLOURS[1], lw=1.1)
        other.spines["right"].set_visible(True)
        other.grid(visible=False)
        if np.isfinite(part["drop"].iloc[0]):
            panel.axvspan(part.low.iloc[0] - 0.5, part.high.iloc[0], color=COLOURS[7], alpha=0.3, lw=0)
            panel.axvline(part["drop"].iloc[0] - 0.5, color=COLOURS[7], lw=1.2)
        panel.set_title(_short(part.label.iloc[0] or trial_id), fontsize=7)
        panel.tick_params(labelsize=7)
        other.tick_params(labelsize=7)
        if position % 3 == 0:
            panel.set_ylabel(axis_label(VALIDATION), fontsize=7, color=COLOURS[0])
        if position % 3 == 2 or position == len(trials) - 1:
            other.set_ylabel(axis_label(TRACE), fontsize=7, color=COLOURS[1])
        if position >= len(trials) - 3:
            epoch_axis(panel, fontsize=7)
    return drawn


def _short(label: str) -> str:
    return label if len(label) <= 40 else f"{label[:39]}…"


def summarise_stopping(data: pd.DataFrame) -> str:
    """States how many trials have a drop, and at which epochs."""
    each = data.drop_duplicates("trial_id")
    dropped = each.dropna(subset=["drop"])
    return f"{len(each)} trials; the trace drops suddenly in {len(dropped)}" + (
        f", at epochs {', '.join(f'{epoch:g}' for epoch in sorted(dropped['drop']))}." if len(dropped) else "."
    )


FIGURE = Figure(
    "figure6",
    "Validation accuracy and trace",
    "Up to twelve completed trials, evenly spaced over the sweep. Solid: validation accuracy; dashed: trace. The "
    "vertical line and band mark a sudden drop and its 95% interval, if the change-point test finds one.",
    "completed trials with a trace and a validation accuracy",
    stopping_data,
    draw_stopping,
    summarise_stopping,
)

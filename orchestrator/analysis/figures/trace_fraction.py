"""Beyond the paper: the trace measured on a fraction of the training samples."""

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, empty
from orchestrator.analysis.quantities import TRACE
from orchestrator.store.frames import Frames

_LABEL = re.compile(r"fraction-([0-9.e-]+)")
_COLUMNS = ["trial_id", "epoch", "fraction", "trace", "reference_fraction", "reference", "deviation"]


def fraction_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per checkpoint and fraction r. The reference is the trace at the largest r of the same checkpoint."""
    fractions = frames.trials.set_index("trial_id")["measurement.fraction"]
    parts = [_traces(frames, TRACE, frames.epochs.trial_id.map(fractions).astype(float))]
    for column in frames.epochs.columns:
        label, _, name = column.rpartition("/")
        match = _LABEL.search(label)
        if match and name == TRACE:
            parts.append(_traces(frames, column, pd.Series(float(match[1]), index=frames.epochs.index)))
    if len(parts) == 1:
        return empty(_COLUMNS)
    traces = pd.concat(parts).drop_duplicates(["trial_id", "epoch", "fraction"])
    largest = traces.loc[traces.groupby(["trial_id", "epoch"]).fraction.idxmax()]
    largest = largest.rename(columns={"fraction": "reference_fraction", "trace": "reference"})
    joined = traces.merge(largest, on=["trial_id", "epoch"])
    joined = joined[joined.fraction < joined.reference_fraction]
    joined["deviation"] = (joined.trace - joined.reference) / joined.reference.abs()
    return pd.DataFrame(joined[_COLUMNS]).reset_index(drop=True)


def _traces(frames: Frames, column: str, fraction: "pd.Series[float]") -> pd.DataFrame:
    traces = frames.epochs[["trial_id", "epoch"]].assign(fraction=fraction, trace=frames.epochs[column])
    return pd.DataFrame(traces[np.isfinite(traces.trace)])


def draw_fraction(data: pd.DataFrame) -> Canvas:
    """Draws a box plot of the deviations for each fraction."""
    drawn, (panel,) = canvas(1, 1, width=5.2, height=2.8)
    fractions = sorted(data.fraction.unique())
    boxes = [100 * data.deviation[data.fraction == fraction].to_numpy() for fraction in fractions]
    panel.boxplot(boxes, widths=0.5, medianprops={"color": COLOURS[1]}, boxprops={"color": COLOURS[0]},
                  whiskerprops={"color": COLOURS[0]}, capprops={"color": COLOURS[0]},
                  flierprops={"markersize": 3, "markeredgecolor": COLOURS[0]})  # fmt: skip
    panel.set_xticks(range(1, len(fractions) + 1), [f"{fraction:g}" for fraction in fractions])
    panel.axhline(0, color=COLOURS[7], lw=1)
    panel.set_xlabel("fraction r of the training samples")
    panel.set_ylabel("deviation of the trace [%]")
    return drawn


def summarise_fraction(data: pd.DataFrame) -> str:
    """States the median and largest deviation at each fraction."""
    deviations = [
        f"r = {fraction:g}: median |deviation| {part.deviation.abs().median():.1%}, largest "
        f"{part.deviation.abs().max():.1%} ({len(part)} checkpoints)"
        for fraction, part in data.groupby("fraction")
    ]
    return f"Against r = {data.reference_fraction.max():g}: " + "; ".join(deviations) + "."


FIGURE = Figure(
    "trace_fraction",
    "The trace on a fraction of the training samples",
    "The paper claims that a fraction r = 0.1 suffices. Each trace is compared with that of the largest r at the same "
    "checkpoint. `hessian-dynamics measure SWEEP --set measurement.fraction=...` remeasures checkpoints.",
    "checkpoints remeasured with another fraction: "
    "hessian-dynamics measure SWEEP --set measurement.fraction=1.0 --every 10",
    fraction_data,
    draw_fraction,
    summarise_fraction,
)

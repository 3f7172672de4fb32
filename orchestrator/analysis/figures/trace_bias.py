"""Beyond the paper: Algorithm 1's trace compared with a more accurate estimate."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, crowded, empty, epoch_axis, quantiles_by_epoch
from orchestrator.analysis.quantities import TRACE, axis_label
from orchestrator.store.frames import Frames

ALGORITHM1 = "algorithm1_trace"
_COLUMNS = ["trial_id", "epoch", "trace", "algorithm1", "deviation", "expected_std"]


def bias_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per measurement with both traces. Equal traces are left out, because they are one estimate.

    ``deviation`` is (Algorithm 1 - trace) / |trace|. ``expected_std`` is its standard deviation, estimated from the
    spread of Algorithm 1's probes.
    """
    epochs = frames.epochs
    used = epochs[np.isfinite(epochs[TRACE]) & np.isfinite(epochs[ALGORITHM1])]
    used = used[(used[TRACE] != used[ALGORITHM1]) & (used[TRACE] != 0)]
    if used.empty:
        return empty(_COLUMNS)
    probes = frames.trials.set_index("trial_id")["measurement.algorithm1_probes"]
    size = used[TRACE].abs()
    return pd.DataFrame(
        {
            "trial_id": used.trial_id,
            "epoch": used.epoch,
            "trace": used[TRACE],
            "algorithm1": used[ALGORITHM1],
            "deviation": (used[ALGORITHM1] - used[TRACE]) / size,
            "expected_std": used.algorithm1_trace_std / np.sqrt(used.trial_id.map(probes).astype(float)) / size,
        }
    ).reset_index(drop=True)


def draw_bias(data: pd.DataFrame) -> Canvas:
    """Left panel: one trace plotted against the other. Right panel: relative deviation by epoch."""
    drawn, (left, right) = canvas(1, 2, height=2.8)
    left.scatter(data.trace, data.algorithm1, s=7, color=COLOURS[0], alpha=0.5, lw=0, rasterized=crowded(len(data)))
    ends = [data.trace.min(), data.trace.max()]
    left.plot(ends, ends, color=COLOURS[7], lw=1)
    left.set_xlabel(axis_label(TRACE))
    left.set_ylabel(axis_label(ALGORITHM1))
    spread = quantiles_by_epoch(100 * data.deviation, data.epoch, (0.05, 0.5, 0.95))
    right.plot(spread.index, spread[0.5], color=COLOURS[1], lw=1.4)
    right.fill_between(spread.index, spread[0.05], spread[0.95], color=COLOURS[1], alpha=0.2, lw=0)
    right.axhline(0, color=COLOURS[7], lw=1)
    epoch_axis(right)
    right.set_ylabel("deviation [%]")
    return drawn


def summarise_bias(data: pd.DataFrame) -> str:
    """States the bias and the spread of the deviations."""
    inner = data[data.epoch > 0] if (data.epoch > 0).any() else data
    error = inner.deviation.std() / np.sqrt(max(len(inner), 1))
    expected = np.sqrt((inner.expected_std**2).mean())
    return (
        f"{len(inner)} measurements after epoch 0: mean deviation {inner.deviation.mean():+.2%} "
        f"(standard error {error:.2%}), standard deviation {inner.deviation.std():.1%} "
        f"({expected:.1%} expected from the spread of the probes)."
    )


FIGURE = Figure(
    "trace_bias",
    "Algorithm 1's trace compared with a more accurate estimate",
    "Both estimates use the same samples after the same epoch. Right: median and central 90% of the trials. At "
    "initialisation the trace is small compared with the Hessian's norm, so relative deviations are large.",
    "Algorithm 1's trace together with a more accurate estimate",
    bias_data,
    draw_bias,
    summarise_bias,
)

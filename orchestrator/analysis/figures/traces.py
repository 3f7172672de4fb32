"""Beyond the paper: Algorithm 1's trace against the better one, and the trace on a fraction of the images."""

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, empty, few
from orchestrator.analysis.quantities import quantity
from orchestrator.store.frames import Frames

TRACE, ALGORITHM1 = "hessian_trace", "algorithm1_trace"
_LABEL = re.compile(r"fraction-([0-9.e-]+)")
_BIAS_COLUMNS = ["trial_id", "epoch", "trace", "algorithm1", "deviation", "expected_std"]
_FRACTION_COLUMNS = ["trial_id", "epoch", "fraction", "trace", "reference_fraction", "reference", "deviation"]


def bias_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row a measurement at which both traces are known and are not one and the same number.

    ``deviation`` is (Algorithm 1 - trace) / |trace|; ``expected_std`` what the spread of Algorithm 1's own probes
    says it should be.
    """
    epochs = frames.epochs
    used = epochs[np.isfinite(epochs[TRACE]) & np.isfinite(epochs[ALGORITHM1])]
    used = used[(used[TRACE] != used[ALGORITHM1]) & (used[TRACE] != 0)]
    if not len(used):
        return empty(_BIAS_COLUMNS)
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
    """Left the two against each other, right the relative deviation over epochs."""
    drawn, (left, right) = canvas(1, 2, height=2.8)
    crowded = not few(len(data))
    left.scatter(data.trace, data.algorithm1, s=7, color=COLOURS[0], alpha=0.5, lw=0, rasterized=crowded)
    ends = [data.trace.min(), data.trace.max()]
    left.plot(ends, ends, color=COLOURS[7], lw=1)
    left.set_xlabel(f"{quantity(TRACE).label} [{quantity(TRACE).unit}]")
    left.set_ylabel(f"{quantity(ALGORITHM1).label} [{quantity(ALGORITHM1).unit}]")
    spread = (100 * data.deviation).groupby(data.epoch).quantile(np.array([0.05, 0.5, 0.95])).unstack()
    right.plot(spread.index, spread[0.5], color=COLOURS[1], lw=1.4)
    right.fill_between(spread.index, spread[0.05], spread[0.95], color=COLOURS[1], alpha=0.2, lw=0)
    right.axhline(0, color=COLOURS[7], lw=1)
    right.set_xlabel("epoch")
    right.set_ylabel("deviation [%]")
    return drawn


def summarise_bias(data: pd.DataFrame) -> str:
    """Bias and spread."""
    inner = data[data.epoch > 0] if (data.epoch > 0).any() else data
    error = inner.deviation.std() / np.sqrt(max(len(inner), 1))
    return (
        f"{len(inner)} measurements after epoch 0: mean deviation {inner.deviation.mean():+.2%} "
        f"(standard error {error:.2%}), standard deviation {inner.deviation.std():.1%}, where the probes' own spread "
        "lets expect "
        f"{np.sqrt((inner.expected_std**2).mean()):.1%}."
    )


def fraction_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row a checkpoint and fraction r: the trace on r of the images beside that on the largest r measured there."""
    fractions = frames.trials.set_index("trial_id")["measurement.fraction"]
    parts = [_at(frames, TRACE, frames.epochs.trial_id.map(fractions).astype(float))]
    for column in frames.epochs.columns:
        label, _, rest = column.rpartition("/")
        found = _LABEL.search(label)
        if found and rest == TRACE:
            parts.append(_at(frames, column, pd.Series(float(found[1]), index=frames.epochs.index)))
    if len(parts) == 1:
        return empty(_FRACTION_COLUMNS)
    every = pd.concat(parts).drop_duplicates(["trial_id", "epoch", "fraction"])
    largest = every.loc[every.groupby(["trial_id", "epoch"]).fraction.idxmax()]
    largest = largest.rename(columns={"fraction": "reference_fraction", "trace": "reference"})
    joined = every.merge(largest, on=["trial_id", "epoch"])
    joined = joined[joined.fraction < joined.reference_fraction]
    joined["deviation"] = (joined.trace - joined.reference) / joined.reference.abs()
    return pd.DataFrame(joined[_FRACTION_COLUMNS]).reset_index(drop=True)


def _at(frames: Frames, column: str, fraction: "pd.Series[float]") -> pd.DataFrame:
    found = frames.epochs[["trial_id", "epoch"]].assign(fraction=fraction, trace=frames.epochs[column])
    return pd.DataFrame(found[np.isfinite(found.trace)])


def draw_fraction(data: pd.DataFrame) -> Canvas:
    """The deviation against r, a box a fraction."""
    drawn, (panel,) = canvas(1, 1, width=5.2, height=2.8)
    fractions = sorted(data.fraction.unique())
    boxes = [100 * data.deviation[data.fraction == fraction].to_numpy() for fraction in fractions]
    panel.boxplot(boxes, widths=0.5, medianprops={"color": COLOURS[1]}, boxprops={"color": COLOURS[0]},
                  whiskerprops={"color": COLOURS[0]}, capprops={"color": COLOURS[0]},
                  flierprops={"markersize": 3, "markeredgecolor": COLOURS[0]})  # fmt: skip
    panel.set_xticks(range(1, len(fractions) + 1), [f"{fraction:g}" for fraction in fractions])
    panel.axhline(0, color=COLOURS[7], lw=1)
    panel.set_xlabel("fraction r of the training images")
    panel.set_ylabel("deviation of the trace [%]")
    return drawn


def summarise_fraction(data: pd.DataFrame) -> str:
    """The spread of each fraction."""
    told = [
        f"r = {fraction:g}: median |deviation| {part.deviation.abs().median():.1%}, largest "
        f"{part.deviation.abs().max():.1%} ({len(part)} checkpoints)"
        for fraction, part in data.groupby("fraction")
    ]
    return f"Against r = {data.reference_fraction.max():g}: " + "; ".join(told) + "."


BIAS = Figure(
    "trace_bias",
    "Algorithm 1's trace against the better one",
    "Both on the same images after the same epoch. Right: median and the middle 90% of the trials. At initialisation "
    "the "
    "trace is small beside the Hessian's norm, and relative deviations large.",
    "a better estimate of the trace beside Algorithm 1's",
    bias_data,
    draw_bias,
    summarise_bias,
)
FRACTION = Figure(
    "trace_fraction",
    "The trace on a fraction of the images",
    "The paper claims that r = 0.1 suffices. Checkpoints measured again with `hessian-dynamics measure SWEEP --set "
    "measurement.fraction=...`, beside the largest r measured at the same epoch.",
    "checkpoints measured again with another fraction: "
    "hessian-dynamics measure SWEEP --set measurement.fraction=1.0 --every 10",
    fraction_data,
    draw_fraction,
    summarise_fraction,
)

"""Figure 3: convergence of Algorithm 1's Rayleigh quotients."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, empty
from orchestrator.analysis.quantities import LAMBDA_MAX, LAMBDA_MIN, axis_label
from orchestrator.store.frames import Frames

MEASUREMENTS = 100
QUOTIENTS = "algorithm1_rayleigh_quotients"
_COLUMNS = ["trial_id", "epoch", "iteration", "quotient", "lambda_max", "error"]


def convergence_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per measurement and iteration, for up to 100 measurements evenly spaced over the sweep.

    ``error`` is relative to the lambda_max of Lanczos at the same epoch; NaN if Lanczos did not run.
    """
    if QUOTIENTS not in frames.samples or not (present := frames.samples[QUOTIENTS].notna()).any():
        return empty(_COLUMNS)
    measured = frames.samples.loc[present, ["trial_id", "epoch", QUOTIENTS]]
    chosen = measured.iloc[np.unique(np.linspace(0, len(measured) - 1, MEASUREMENTS).astype(int))]
    long = chosen.explode(QUOTIENTS, ignore_index=True).rename(columns={QUOTIENTS: "quotient"})
    long["quotient"] = long.quotient.astype(float)
    long["iteration"] = long.groupby(["trial_id", "epoch"], sort=False).cumcount() + 1
    # Only Lanczos finds lambda_min. If lambda_min is missing, lambda_max comes from Algorithm 1 itself.
    reference = frames.epochs.loc[frames.epochs[LAMBDA_MIN].notna(), ["trial_id", "epoch", LAMBDA_MAX]]
    long = long.merge(reference.rename(columns={LAMBDA_MAX: "lambda_max"}), how="left", on=["trial_id", "epoch"])
    long["error"] = (long.quotient - long.lambda_max).abs() / long.lambda_max.abs()
    return long[_COLUMNS]


def draw_convergence(data: pd.DataFrame) -> Canvas:
    """Left panel: the Rayleigh quotients. Right panel: their relative error against Lanczos."""
    drawn, (left, right) = canvas(1, 2)
    for _, line in data.groupby(["trial_id", "epoch"], sort=False):
        left.plot(line.iteration, line.quotient, color=COLOURS[0], lw=0.6, alpha=0.5)
        if line.error.notna().any():
            right.plot(line.iteration, line.error.clip(lower=1e-9), color=COLOURS[1], lw=0.6, alpha=0.35)
    left.set_ylabel(axis_label(QUOTIENTS))
    right.set_ylabel("relative error against Lanczos")
    if data.error.notna().any():
        median = data.groupby("iteration").error.median().clip(lower=1e-9)
        right.plot(median.index, median, color=COLOURS[0], lw=1.8, label="median")
        right.set_yscale("log")
        right.legend()
    else:
        right.text(0.5, 0.5, "no Lanczos reference", transform=right.transAxes, ha="center")
    for panel in (left, right):
        panel.set_xlabel("power iteration step")
    return drawn


def summarise_convergence(data: pd.DataFrame) -> str:
    """Summarises the relative errors after the last iteration."""
    count = data[["trial_id", "epoch"]].drop_duplicates().shape[0]
    last = data[data.iteration == data.iteration.max()].error.dropna()
    if not len(last):
        return f"{count} measurements without a Lanczos reference."
    share = float((last <= 0.01).mean())
    return (
        f"{count} measurements: after {int(data.iteration.max())} iterations the median error against Lanczos "
        f"is {last.median():.2%} and the largest {last.max():.0%}; {share:.0%} of the errors are at most 1%."
    )


FIGURE = Figure(
    "figure3",
    "Convergence of Algorithm 1's largest eigenvalue",
    "Rayleigh quotients of up to 100 measurements evenly spaced over all trials and epochs, and their error relative "
    "to lambda_max of Lanczos on the same samples. Power iteration converges to the eigenvalue of largest magnitude, "
    "which may be negative.",
    "Algorithm 1 among the estimators",
    convergence_data,
    draw_convergence,
    summarise_convergence,
)

"""The distribution of all eigenvalues over training, as a ridge of logarithmic densities."""

from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import INK, Figure, empty
from orchestrator.analysis.figures.quantities.example_panels import example_panels
from orchestrator.analysis.figures.quantities.settings import evenly_spaced, example_trials, setting_of_trials
from orchestrator.store.frames import Frames

NODES, WEIGHTS = "hessian_spectral_density", "hessian_spectral_density_weights"
ERROR = f"{NODES}_error"
TRIALS = 3
RIDGES = 10
"""Maximum number of records drawn per trial."""
POINTS = 300
WIDTH = 0.01
"""Standard deviation of the Gaussian that stands for one node, as a share of the trial's range of eigenvalues."""
_DECADES = 9.0
"""Maximum height of a ridge: that of a network with 10^8 parameters above a tenth of a single eigenvalue."""
_OVERLAP = 1.6
_COLUMNS = ["trial_id", "setting", "epoch", "eigenvalue", "density", "one_eigenvalue", "error"]
_Array = npt.NDArray[np.float64]


def density_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per grid point of up to 10 records of up to 3 trials.

    `density` is the share of the eigenvalues per unit of the eigenvalue. `one_eigenvalue` is the maximum density of the
    record's largest node, which is usually a single eigenvalue. `error` is the Wasserstein-1 error of the record.
    """
    samples = frames.samples
    if NODES not in samples or not (present := samples[NODES].notna()).any():
        return empty(_COLUMNS)
    errors = frames.epochs[["trial_id", "epoch"]].assign(error=frames.epochs.get(ERROR, np.nan))
    known = samples.loc[present, ["trial_id", "epoch", NODES, WEIGHTS]].merge(errors, "left", ["trial_id", "epoch"])
    parts = [
        _ridges(known[known.trial_id == trial].sort_values("epoch"))
        for trial in example_trials(frames, known.trial_id, TRIALS).values()
    ]
    found = pd.concat(parts, ignore_index=True)
    found["setting"] = found.trial_id.map(setting_of_trials(frames))
    return pd.DataFrame(found[_COLUMNS])


def _ridges(records: pd.DataFrame) -> pd.DataFrame:
    """The densities of one trial's records on a common grid."""
    rows: list[Any] = evenly_spaced(list(records.itertuples()), RIDGES)
    ends = np.array([(min(getattr(row, NODES)), max(getattr(row, NODES))) for row in rows])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    width = WIDTH * ((high - low) or max(abs(high), 1.0))
    grid = np.linspace(low - 4 * width, high + 4 * width, POINTS)
    return pd.concat([_ridge(row, grid, width) for row in rows])


def _ridge(row: Any, grid: _Array, width: float) -> pd.DataFrame:
    nodes, weights = np.asarray(getattr(row, NODES)), np.asarray(getattr(row, WEIGHTS))
    peak = weights[nodes.argmax()] / (width * np.sqrt(2 * np.pi))
    fixed = {"trial_id": row.trial_id, "epoch": row.epoch, "one_eigenvalue": peak, "error": row.error}
    return pd.DataFrame({"eigenvalue": grid, "density": smoothed(nodes, weights, grid, width)}).assign(**fixed)


def smoothed(nodes: _Array, weights: _Array, grid: _Array, width: float) -> _Array:
    """The density on a grid if every node is a Gaussian of this standard deviation. Its integral is sum(weights)."""
    kernels = np.exp(-0.5 * ((grid[:, None] - nodes[None, :]) / width) ** 2)
    return np.asarray(kernels @ weights / (width * np.sqrt(2 * np.pi)))


def draw_density(data: pd.DataFrame) -> Canvas:
    """Draws one panel per trial. Its ridges are shifted up with the epoch; their height is the logarithm."""
    drawn, panels = example_panels(data, "epoch", height=4.0, horizontal_label=r"eigenvalue of $H$")
    for panel, part in panels:
        epochs = sorted(part.epoch.unique())
        floor = lowest_drawn(part)
        top = np.log10(part.density.max() / floor)
        colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(epochs)))
        for position, epoch in reversed(list(enumerate(epochs))):
            line = part[part.epoch == epoch]
            height = position + _OVERLAP * np.log10(np.maximum(line.density / floor, 1)) / top
            order = {"zorder": 2 + len(epochs) - position}
            panel.fill_between(line.eigenvalue, position, height, color=colours[position], alpha=0.55, lw=0, **order)
            panel.plot(line.eigenvalue, height, color=INK, lw=0.5, **order)
        panel.set_yticks(range(len(epochs)), [f"{epoch:g}" for epoch in epochs])
        panel.grid(visible=False, axis="y")
        panel.text(0.98, 0.99, f"tallest ridge: {top:.1f} decades", transform=panel.transAxes, fontsize=6.5,
                   ha="right", va="top")  # fmt: skip
    return drawn


def lowest_drawn(part: pd.DataFrame) -> float:
    """The density at the bottom of a ridge."""
    # The median, because the largest node of a random probe may have hardly any weight.
    return max(0.1 * float(part.one_eigenvalue.median()), float(part.density.max()) * 10**-_DECADES)


def summarise_density(data: pd.DataFrame) -> str:
    """States the ranges at the first and last record, and the largest error."""
    visible = data[data.density >= data.one_eigenvalue / 2]
    parts = []
    for setting, part in visible.groupby("setting", sort=False):
        begin, end = part.epoch.min(), part.epoch.max()
        first, last = (_range(part.eigenvalue[part.epoch == epoch]) for epoch in (begin, end))
        parts.append(f"{setting}: {first} at epoch {begin:g}, {last} at {end:g}")
    error = data.error.max()
    known = f" The Wasserstein-1 error of the records is at most {error:.2g}." if np.isfinite(error) else ""
    return f"Range of the eigenvalues: {'; '.join(parts)}.{known}"


def _range(values: "pd.Series[float]") -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


FIGURE = Figure(
    "spectral_density",
    "The spectrum of the Hessian during training",
    "Density of all eigenvalues by stochastic Lanczos quadrature, one ridge per record, on a logarithmic scale from a "
    "tenth of the height of a single eigenvalue. Every node is drawn as a Gaussian whose standard deviation is "
    f"{WIDTH:.0%} of the range. Each panel shows one trial, the first of a setting; at most {TRIALS} settings and "
    f"{RIDGES} records are drawn, evenly spaced.",
    "spectral_density among the estimators",
    density_data,
    draw_density,
    summarise_density,
)

"""The largest eigenvalue and the share of the trace of every layer, as heat maps."""

import re
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import Figure, canvas, crowded, empty, epoch_axis
from orchestrator.store.frames import Frames

DRAWN = 24
"""Maximum number of layers drawn per model."""
_COLUMN = re.compile(r"layers_(.+)_(lambda_max|trace)")
_COLUMNS = ["model", "layer", "epoch", "trials", "lambda_max", "trace", "trace_share"]
_MAP = "viridis"


def sharpness_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per model, layer and epoch. Layers are sorted by name, numbers in names by value.

    `lambda_max` is the median over the trials, `trace` and `trace_share` are means. The trace is NaN if it was not
    measured.
    """
    columns = [m for m in map(_COLUMN.fullmatch, map(str, frames.epochs.columns)) if m]
    layers = sorted({m[1] for m in columns if m[2] == "lambda_max"}, key=_natural)
    if not layers:
        return empty(_COLUMNS)
    long = pd.concat([_layer(frames.epochs, layer) for layer in layers])
    long = long[np.isfinite(long.lambda_max)]
    if long.empty:
        return empty(_COLUMNS)
    long["trace_share"] = long.trace / long.groupby(["trial_id", "epoch"]).trace.transform("sum", min_count=1)
    long["model"] = long.trial_id.map(dict(zip(frames.trials.trial_id, frames.trials["model.name"], strict=True)))
    found = long.groupby(["model", "layer", "epoch"], sort=False).agg(
        trials=("trial_id", "nunique"),
        lambda_max=("lambda_max", "median"),
        trace=("trace", "mean"),
        trace_share=("trace_share", "mean"),
    )
    return pd.DataFrame(found.reset_index()[_COLUMNS])


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _layer(epochs: pd.DataFrame, layer: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "trial_id": epochs.trial_id,
            "epoch": epochs.epoch,
            "layer": layer,
            "lambda_max": epochs[f"layers_{layer}_lambda_max"],
            "trace": epochs.get(f"layers_{layer}_trace", np.nan),
        }
    )


def draw_sharpness(data: pd.DataFrame) -> Canvas:
    """Draws two heat maps per model: lambda_max, and the share of the trace if it is known."""
    models, shares = list(dict.fromkeys(data.model)), data.trace_share.notna().any()
    layers = data.groupby("model").layer.nunique().clip(upper=DRAWN).max()
    drawn, axes = canvas(len(models), 2 if shares else 1, height=1.4 + 0.16 * int(layers))
    panels = iter(axes)
    for model in models:
        part = data[data.model == model]
        part = part[part.layer.isin(part.groupby("layer").lambda_max.mean().nlargest(DRAWN).index)]
        panel = next(panels)
        _heat_map(panel, part.assign(lambda_max=part.lambda_max.where(part.lambda_max > 0)), "lambda_max")
        panel.set_title(f"{model}: " + r"$\lambda_{\max}$ of the layer's block")
        if shares:
            panel = next(panels)
            _heat_map(panel, part.assign(trace_share=100 * part.trace_share), "trace_share", Normalize(0))
            panel.set_title(f"{model}: share of the trace [%]")
    return drawn


def _heat_map(panel: Axes, part: pd.DataFrame, column: str, norm: Normalize | None = None) -> None:
    layers = list(dict.fromkeys(part.layer))
    table = part.pivot(index="layer", columns="epoch", values=column).loc[layers]
    values = np.ma.masked_invalid(table.to_numpy(dtype=float))
    edges = _edges(table.columns.to_numpy(dtype=float))
    mesh = panel.pcolormesh(
        edges,
        np.arange(len(layers) + 1) - 0.5,
        values,
        norm=norm or _scale(values),
        cmap=_MAP,
        edgecolors="face",  # no gaps between the cells
        lw=0.4,
        rasterized=crowded(values.size),
    )
    panel.set_yticks(range(len(layers)), layers, fontsize=7)
    panel.invert_yaxis()
    panel.grid(visible=False)
    epoch_axis(panel)
    panel.set_ylabel("layer")
    panel.figure.colorbar(mesh, ax=panel, pad=0.02)


def _scale(positive: Any) -> Normalize:
    """A logarithmic scale, or a linear one within a decade, where a logarithmic one has hardly any ticks."""
    low, high = positive.min(), positive.max()
    return LogNorm(low, high) if high > 10 * low else Normalize(low, high)


def _edges(epochs: np.ndarray) -> np.ndarray:
    """The edges of cells around these epochs."""
    if len(epochs) == 1:
        return np.array([epochs[0] - 0.5, epochs[0] + 0.5])
    inner = (epochs[1:] + epochs[:-1]) / 2
    return np.concatenate([[2 * epochs[0] - inner[0]], inner, [2 * epochs[-1] - inner[-1]]])


def summarise_sharpness(data: pd.DataFrame) -> str:
    """States the sharpest layer of each model at the last epoch."""
    sentences = []
    for model, part in data.groupby("model", sort=False):
        last = part[part.epoch == part.epoch.max()]
        top = last.loc[last.lambda_max.idxmax()]
        share = f" and {top.trace_share:.0%} of the trace" if np.isfinite(top.trace_share) else ""
        sentences.append(f"{model}: {top.layer} has the largest lambda_max, {top.lambda_max:.3g}{share}")
    return "At the last epoch, " + "; ".join(sentences) + "."


FIGURE = Figure(
    "layer_sharpness",
    "Curvature by layer",
    "The largest eigenvalue of each layer's diagonal block of the Hessian (median of the trials of a model; "
    "blank: not positive; logarithmic beyond a decade), and the block's share of the trace (mean). Layers are sorted "
    f"by name. At most {DRAWN} layers are drawn, those with the largest eigenvalues; the CSV has all.",
    "layers among the estimators",
    sharpness_data,
    draw_sharpness,
    summarise_sharpness,
)

"""Sharpness of every optimizer relative to the threshold of its stability."""

import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty, epoch_axis
from orchestrator.analysis.figures.quantities.settings import (
    evenly_spaced,
    finite_rows,
    optimizer_of_trials,
    setting_of_trials,
    short,
)
from orchestrator.analysis.quantities import axis_label
from orchestrator.store.frames import Frames

RATIO = "stability_ratio"
DRAWN = 4
"""Maximum number of settings drawn per optimizer."""
_COLUMNS = ["optimizer", "setting", "epoch", "trials", "median", "low", "high"]
_PANELS = 3


def ratio_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per setting and epoch: median, lower and upper quartile of the ratio over the setting's trials."""
    known = finite_rows(frames, RATIO)
    if known.empty:
        return empty(_COLUMNS)
    named = known.assign(
        optimizer=known.trial_id.map(optimizer_of_trials(frames)), setting=known.trial_id.map(setting_of_trials(frames))
    )
    each = named.groupby(["optimizer", "setting", "epoch"], sort=False)
    found = pd.DataFrame(each[RATIO].quantile([0.25, 0.5, 0.75]).unstack())  # type: ignore[arg-type]
    found.columns = pd.Index(["low", "median", "high"])
    found["trials"] = each.trial_id.nunique()
    return pd.DataFrame(found.reset_index()[_COLUMNS])


def draw_ratio(data: pd.DataFrame) -> Canvas:
    """Draws one panel per optimizer with a line and a band per setting, and a line at 1."""
    optimizers = list(dict.fromkeys(data.optimizer))
    columns = min(_PANELS, len(optimizers))
    top = _top(data)
    drawn, axes = canvas(-(-len(optimizers) // columns), columns, width=7.2 if columns > 1 else 5.6, height=2.5)
    for panel in axes[len(optimizers) :]:
        panel.set_visible(False)
    for position, (panel, optimizer) in enumerate(zip(axes, optimizers, strict=False)):
        part = data[data.optimizer == optimizer]
        for number, setting in enumerate(evenly_spaced(list(dict.fromkeys(part.setting)), DRAWN)):
            line, colour = part[part.setting == setting].sort_values("epoch"), COLOURS[number]
            panel.plot(line.epoch, line["median"], STYLES[number], color=colour, lw=1.4, label=short(setting))
            panel.fill_between(line.epoch, line.low, line.high, color=colour, alpha=0.2, lw=0)
        panel.axhline(1, color=COLOURS[7], lw=1)
        panel.set_ylim(min(0.0, float(data.low.min())), top)
        panel.set_title(optimizer)
        panel.legend(fontsize=6.5)
        epoch_axis(panel)
        if position % columns == 0:
            panel.set_ylabel(axis_label(RATIO))
    return drawn


def _top(data: pd.DataFrame) -> float:
    """The upper limit of the axes. At the first records, adaptive optimizers may have ratios of several hundred."""
    trained = data[data.epoch > 0] if (data.epoch > 0).any() else data
    return 1.1 * max(1.0, float(trained["median"].max()), float(trained.high.quantile(0.95)))


def summarise_ratio(data: pd.DataFrame) -> str:
    """States the range of the last medians of each optimizer."""
    last = data.loc[data.groupby(["optimizer", "setting"], sort=False).epoch.idxmax()]
    parts = []
    for optimizer, part in last.groupby("optimizer", sort=False):
        low, high = part["median"].min(), part["median"].max()
        parts.append(f"{optimizer} {low:.2f}" + (f" to {high:.2f}" if len(part) > 1 else ""))
    return f"Ratio at the last record, median of the trials of a setting: {', '.join(parts)}."


FIGURE = Figure(
    "stability_ratio",
    "Sharpness relative to the stability threshold",
    "The largest eigenvalue of the Hessian in the geometry of the optimizer's preconditioner, divided by the sharpness "
    "at which this optimizer becomes unstable on a quadratic (grey line). Lines: median of the trials that differ only "
    f"in the seed; bands: quartiles. At most {DRAWN} settings of an optimizer are drawn, evenly spaced; the CSV has "
    "all. First records may lie above the axes: adaptive optimizers have hardly accumulated squared gradients.",
    "stability among the estimators",
    ratio_data,
    draw_ratio,
    summarise_ratio,
)

"""The largest eigenvalues of the Hessian, with the stability threshold."""

import re

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, empty
from orchestrator.analysis.figures.quantities.example_panels import CAPTION, EXAMPLES, example_panels
from orchestrator.analysis.figures.quantities.plain_threshold import plain_threshold
from orchestrator.analysis.figures.quantities.settings import example_trials, setting_of_trials
from orchestrator.counted import counted
from orchestrator.store.frames import Frames

_EIGENVALUE = re.compile(r"hessian_lambda_([0-9]+)")
_COLUMNS = ["trial_id", "setting", "epoch", "eigenvalue", "value", "residual", "error", "threshold"]


def eigenvalues_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per record and eigenvalue of up to 6 trials; eigenvalue 1 is the largest.

    `residual` is the norm of Hv - lambda v, `error` the bound of the distance from the eigenvalue of this number.
    """
    epochs = frames.epochs
    columns = sorted((int(m[1]), m[0]) for m in map(_EIGENVALUE.fullmatch, map(str, epochs.columns)) if m)
    parts = [
        pd.DataFrame(
            {
                "trial_id": epochs.trial_id,
                "epoch": epochs.epoch,
                "eigenvalue": number,
                "value": epochs[column],
                "residual": epochs.get(f"{column}_residual", np.nan),
                "error": epochs.get(f"{column}_error", np.nan),
                "threshold": plain_threshold(frames, epochs),
            }
        )
        for number, column in columns
    ]
    if not parts:
        return empty(_COLUMNS)
    found = pd.concat(parts)
    found = found[np.isfinite(found.value)]
    chosen = list(example_trials(frames, found.trial_id, EXAMPLES).values())
    found = found[found.trial_id.isin(chosen)].sort_values(["epoch", "eigenvalue"])
    found = found.sort_values("trial_id", key=lambda ids: ids.map(chosen.index), kind="stable")
    found["setting"] = found.trial_id.map(setting_of_trials(frames))
    return pd.DataFrame(found[_COLUMNS]).reset_index(drop=True)


def draw_eigenvalues(data: pd.DataFrame) -> Canvas:
    """Draws one panel per trial with one line per eigenvalue; darker lines are larger eigenvalues."""
    drawn, panels = example_panels(data, r"eigenvalue of $H$")
    count = int(data.eigenvalue.max())
    colours = mpl.colormaps["viridis"](np.linspace(0.0, 0.85, count))
    for panel, part in panels:
        for number in sorted(part.eigenvalue.unique()):
            line = part[part.eigenvalue == number]
            label = rf"$\lambda_{{{number}}}$" if number in (1, count) else None
            panel.plot(line.epoch, line.value, color=colours[number - 1], lw=1.2, label=label)
        first = part[part.eigenvalue == 1]
        if first.threshold.notna().any():
            panel.plot(first.epoch, first.threshold, "--", color=COLOURS[1], lw=1.2, label="stability threshold")
    legend = {name: line for panel in drawn.axes for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    drawn.legend(list(legend.values()), list(legend), loc="outside upper center", ncols=3)
    return drawn


def summarise_eigenvalues(data: pd.DataFrame) -> str:
    """States the number of eigenvalues, the gap at the last record and the largest residual."""
    last = data[data.epoch == data.groupby("trial_id").epoch.transform("max")]
    ends = last.groupby("trial_id").value.agg(["max", "min"])
    ratio = (ends["min"] / ends["max"]).median()
    residual = (data.residual / data.value.abs()).max()
    error = f"; the largest residual is {residual:.1%} of its eigenvalue" if np.isfinite(residual) else ""
    return (
        f"{int(data.eigenvalue.max())} eigenvalues of {counted(len(ends), 'trial')}; at the last record the "
        f"smallest of them is {ratio:.2f} times the largest (median){error}."
    )


FIGURE = Figure(
    "top_eigenvalues",
    "The largest eigenvalues",
    "The algebraically largest eigenvalues of the Hessian; darker lines are larger eigenvalues. Dashed: the stability "
    f"threshold of SGD, which other optimizers do not have in these units. {CAPTION}",
    "top_eigenvalues among the estimators",
    eigenvalues_data,
    draw_eigenvalues,
    summarise_eigenvalues,
)

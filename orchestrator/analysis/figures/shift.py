"""Figure 5: how the accuracy under a shift of distribution changes when lambda_max does."""

import numpy as np
import pandas as pd
import statsmodels.api as sm
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, few
from orchestrator.analysis.quantities import change_label
from orchestrator.analysis.tables.epoch_changes import changes
from orchestrator.store.frames import Frames

LAMBDA, OOD = "hessian_lambda_max", "accuracy_ood"
_SHOWN = 0.005
"""The share of the widest changes on each side that lies outside the axes."""


def shift_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row a change: both changes, the fitted line there and its 95% band. The line is Table 1's third model."""
    found = changes(frames.epochs, [LAMBDA, OOD]).rows.rename(columns={LAMBDA: "x", OOD: "y"}).sort_values("x")
    if len(found) < 4 or found.x.nunique() < 2:
        return found.iloc[:0].assign(fit=0.0, low=0.0, high=0.0)
    result = sm.OLS(found.y.to_numpy(), sm.add_constant(found.x.to_numpy())).fit()
    band = result.get_prediction().conf_int(alpha=0.05)
    return found.assign(fit=result.fittedvalues, low=band[:, 0], high=band[:, 1]).reset_index(drop=True)


def draw_shift(data: pd.DataFrame) -> Canvas:
    """Points, line and band; the widest half percent on each side lies outside."""
    drawn, (panel,) = canvas(1, 1, width=5.2, height=3.4)
    panel.scatter(
        data.x,
        data.y,
        s=11 if few(len(data)) else 6,
        color=COLOURS[0],
        alpha=0.75 if few(len(data)) else 0.4,
        lw=0,
        rasterized=not few(len(data)),
    )
    panel.plot(data.x, data.fit, color=COLOURS[1], lw=1.6)
    panel.fill_between(data.x, data.low, data.high, color=COLOURS[1], alpha=0.25, lw=0)
    panel.axhline(0, lw=0.6, color=COLOURS[7])
    panel.axvline(0, lw=0.6, color=COLOURS[7])
    panel.set_xlim(*data.x.quantile([_SHOWN, 1 - _SHOWN]))
    panel.set_ylim(*data.y.quantile([_SHOWN, 1 - _SHOWN]))
    panel.set_xlabel(change_label(LAMBDA))
    panel.set_ylabel(change_label(OOD))
    return drawn


def summarise_shift(data: pd.DataFrame) -> str:
    """The slope."""
    slope = np.polyfit(data.x, data.y, 1)[0]
    falls = data[data.x < 0]
    return (
        f"{len(data)} changes; the slope is {slope:.3g} percentage points a nat (the paper: -0.083). Where "
        "lambda_max falls, "
        f"OOD accuracy rises in {float((falls.y > 0).mean()):.0%} of the epochs."
    )


FIGURE = Figure(
    "figure5",
    "OOD accuracy against lambda_max, changes from epoch to epoch",
    "Ordinary least squares with the 95% band of the line, which takes every epoch as a draw of its own; Table 1 has "
    "the errors by trial. Epoch 0 is left out.",
    "lambda_max and OOD accuracy at consecutive epochs",
    shift_data,
    draw_shift,
    summarise_shift,
)

"""Figure 5: changes of the accuracy under distribution shift plotted against changes of lambda_max."""

import numpy as np
import pandas as pd
import statsmodels.api as sm
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, crowded
from orchestrator.analysis.published import OOD_SLOPE
from orchestrator.analysis.quantities import LAMBDA_MAX, OOD, change_label
from orchestrator.analysis.tables.record_changes import record_changes
from orchestrator.store.frames import Frames

_CUT = 0.005
"""Fraction of the changes outside the axes, on each side."""


def shift_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per pair of consecutive records, with both changes, the fitted line and its 95% band.

    The line is the model of Table 1 for OOD accuracy with lambda_max only.
    """
    found = record_changes(frames, [LAMBDA_MAX, OOD]).rows
    found = found.rename(columns={LAMBDA_MAX: "x", OOD: "y"}).sort_values("x")
    if len(found) < 4 or found.x.nunique() < 2:
        return found.iloc[:0].assign(fit=0.0, low=0.0, high=0.0)
    result = sm.OLS(found.y.to_numpy(), sm.add_constant(found.x.to_numpy())).fit()
    band = result.get_prediction().conf_int(alpha=0.05)
    return found.assign(fit=result.fittedvalues, low=band[:, 0], high=band[:, 1]).reset_index(drop=True)


def draw_shift(data: pd.DataFrame) -> Canvas:
    """Draws points, line and band. The outermost half percent of the points on each side is outside the axes."""
    drawn, (panel,) = canvas(1, 1, width=5.2, height=3.4)
    dense = crowded(len(data))
    size, alpha = (6, 0.4) if dense else (11, 0.75)
    panel.scatter(data.x, data.y, s=size, color=COLOURS[0], alpha=alpha, lw=0, rasterized=dense)
    panel.plot(data.x, data.fit, color=COLOURS[1], lw=1.6)
    panel.fill_between(data.x, data.low, data.high, color=COLOURS[1], alpha=0.25, lw=0)
    panel.axhline(0, lw=0.6, color=COLOURS[7])
    panel.axvline(0, lw=0.6, color=COLOURS[7])
    panel.set_xlim(*data.x.quantile([_CUT, 1 - _CUT]))
    panel.set_ylim(*data.y.quantile([_CUT, 1 - _CUT]))
    panel.set_xlabel(change_label(LAMBDA_MAX))
    panel.set_ylabel(change_label(OOD))
    return drawn


def summarise_shift(data: pd.DataFrame) -> str:
    """States the slope, and how often OOD accuracy rises if lambda_max falls."""
    slope = np.polyfit(data.x, data.y, 1)[0]
    falls = data[data.x < 0]
    return (
        f"{len(data)} changes; the slope is {slope:.3g} percentage points per unit of lambda_max (paper: "
        f"{OOD_SLOPE}). OOD accuracy "
        f"rises in {float((falls.y > 0).mean()):.0%} of the changes in which lambda_max falls."
    )


FIGURE = Figure(
    "figure5",
    "Changes of OOD accuracy against changes of lambda_max",
    "Changes between consecutive records, without the untrained model. Line: ordinary least squares; band: its 95% "
    "confidence band, which treats records as independent. Table 1 has errors clustered by trial.",
    "lambda_max and OOD accuracy at consecutive records",
    shift_data,
    draw_shift,
    summarise_shift,
)

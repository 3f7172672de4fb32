"""Panels that each show one trial as the example of a setting."""

from collections.abc import Iterator
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import canvas, epoch_axis

EXAMPLES = 6
"""Maximum number of panels."""
CAPTION = (
    f"Each panel shows one trial: the first one of a setting. If there are more than {EXAMPLES} settings, they are "
    "evenly spaced over the sweep."
)
_COLUMNS = 3
_TITLE = 30
"""Characters in a line of a panel's title."""


def example_panels(
    data: pd.DataFrame, label: str, height: float = 2.3, horizontal_label: str = ""
) -> tuple[Canvas, Iterator[tuple[Axes, pd.DataFrame]]]:
    """Returns a canvas, and for each trial its panel and its rows of the data.

    Args:
        data: rows with the columns `trial_id` and `setting`.
        label: label of the vertical axes.
        height: height of a row of panels in inches.
        horizontal_label: label of the horizontal axes. If it is empty, they show epochs.
    """
    trials = list(dict.fromkeys(data.trial_id))
    columns = min(_COLUMNS, len(trials))
    drawn, axes = canvas(-(-len(trials) // columns), columns, width=7.2 if columns > 1 else 5.6, height=height)
    for panel in axes[len(trials) :]:
        panel.set_visible(False)
    parts = [data[data.trial_id == trial] for trial in trials]
    for position, (panel, part) in enumerate(zip(axes, parts, strict=False)):
        panel.set_title(fill(part.setting.iloc[0], _TITLE, max_lines=2, placeholder="…"), fontsize=8)
        if horizontal_label:
            panel.set_xlabel(horizontal_label)
        else:
            epoch_axis(panel)
        if position % columns == 0:
            panel.set_ylabel(label)
    return drawn, zip(axes, parts, strict=False)

"""Beyond the paper: the cost of measuring relative to training."""

import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, Figure, canvas, empty
from orchestrator.analysis.quantities import TIMES, quantity
from orchestrator.store.frames import Frames

_HATCHES = ("", "//", "..")
_COLUMNS = ["group", "trials", "epochs", *TIMES, "measure_over_train"]
_MOST_BARS = 16


def cost_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """Mean seconds per epoch by model, batch size and device. Epoch 0 is excluded because it has no training."""
    epochs = frames.epochs.loc[frames.epochs.epoch > 0, ["trial_id", *TIMES]].dropna()
    if not len(epochs):
        return empty(_COLUMNS)
    trials = frames.trials
    batches = trials["batch_size"].astype("str")
    group = trials["model.name"] + ", batch " + batches + ", " + trials["device"].fillna("?")
    epochs = epochs.assign(group=epochs.trial_id.map(dict(zip(trials.trial_id, group, strict=True))))
    each = epochs.groupby("group", sort=True)
    found = each[list(TIMES)].mean()
    found.insert(0, "trials", each.trial_id.nunique())
    found.insert(1, "epochs", each.size())
    found["measure_over_train"] = found.time_measure_seconds / found.time_train_seconds
    return found.reset_index()[_COLUMNS]


def draw_cost(data: pd.DataFrame) -> Canvas:
    """One bar per group."""
    part = data.head(_MOST_BARS)
    drawn, (panel,) = canvas(1, 1, height=0.9 + 0.26 * len(part))
    left = pd.Series(0.0, index=part.index)
    for position, column in enumerate(TIMES):
        panel.barh(part.group, part[column], left=left, color=COLOURS[position], hatch=_HATCHES[position], lw=0,
                   height=0.65, label=quantity(column).label)  # fmt: skip
        left = left + part[column]
    panel.invert_yaxis()
    panel.set_xlabel("seconds per epoch (mean)")
    panel.grid(visible=False, axis="y")
    drawn.legend(loc="outside upper center", ncols=3)
    return drawn


def summarise_cost(data: pd.DataFrame) -> str:
    """States the ratio of measurement time to training time."""
    train, measure = ((data[column] * data.epochs).sum() for column in (TIMES[0], TIMES[2]))
    return f"Over {int(data.epochs.sum())} epochs, measuring took {measure / train:.2f} times as long as training."


FIGURE = Figure(
    "cost",
    "Cost of measuring relative to training",
    "Mean wall time of an epoch by model, batch size and device. Concurrent trials slow each other down.",
    "training and measurement times",
    cost_data,
    draw_cost,
    summarise_cost,
)

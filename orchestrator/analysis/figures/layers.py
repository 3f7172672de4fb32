"""Beyond the paper: the Gauss-Newton trace by parameter."""

import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty, epoch_axis
from orchestrator.store.frames import NAMES, Frames

TRACES = "trace_per_parameter"
DRAWN = 12
"""Maximum number of parameters drawn per model. More lines would be indistinguishable."""
_COLUMNS = ["model", "parameter", "epoch", "trials", "trace", "share"]


def layers_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per model, parameter and epoch, with the trace of the parameter's Gauss-Newton block and its share.

    Both are means over the trials.
    """
    columns = [TRACES, f"{TRACES}{NAMES}"]
    if columns[1] not in frames.samples or not (present := frames.samples[TRACES].notna()).any():
        return empty(_COLUMNS)
    long = frames.samples.loc[present, ["trial_id", "epoch", *columns]].explode(columns, ignore_index=True)
    long = long.rename(columns={TRACES: "trace", f"{TRACES}{NAMES}": "parameter"})
    long["trace"] = long.trace.astype(float)
    long["share"] = long.trace / long.groupby(["trial_id", "epoch"]).trace.transform("sum")
    models = dict(zip(frames.trials.trial_id, frames.trials["model.name"], strict=True))
    each = long.assign(model=long.trial_id.map(models)).groupby(["model", "parameter", "epoch"], sort=False)
    found = each.agg(trials=("trial_id", "nunique"), trace=("trace", "mean"), share=("share", "mean"))
    return pd.DataFrame(found.reset_index()[_COLUMNS])


def draw_layers(data: pd.DataFrame) -> Canvas:
    """Draws one panel per model with one line per parameter."""
    models = list(dict.fromkeys(data.model))
    drawn, axes = canvas(len(models), 1, height=2.9)
    for panel, model in zip(axes, models, strict=True):
        part = data[data.model == model]
        largest = part.groupby("parameter").share.mean().nlargest(DRAWN).index
        for position, (parameter, line) in enumerate(
            part[part.parameter.isin(largest)].groupby("parameter", sort=False)
        ):
            style = STYLES[position // len(COLOURS) % len(STYLES)]
            panel.plot(line.epoch, 100 * line.share, style, color=COLOURS[position % len(COLOURS)], label=parameter)
        panel.set_title(model)
        panel.set_ylabel("share of the trace [%]")
        epoch_axis(panel)
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return drawn


def summarise_layers(data: pd.DataFrame) -> str:
    """States the largest shares at the last epoch."""
    sentences = []
    for model, part in data.groupby("model", sort=False):
        last = part[part.epoch == part.epoch.max()].nlargest(2, "share")
        shares = " and ".join(f"{row.parameter} {row.share:.0%}" for row in last.itertuples())
        sentences.append(f"{model}: {shares} of the trace at epoch {int(part.epoch.max())}")
    return "; ".join(sentences) + "."


FIGURE = Figure(
    "layers",
    "The Gauss-Newton trace by parameter",
    "The trace of each parameter's diagonal block of the Gauss-Newton matrix, as a share of the whole trace; mean over "
    "the trials of a model. The 12 largest shares of each model are drawn; the CSV has all shares.",
    "exact_trace or sampled_trace among the estimators",
    layers_data,
    draw_layers,
    summarise_layers,
)

"""Beyond the paper: lambda_max relative to the stability threshold of gradient descent on a quadratic, 2/lr."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty, epoch_axis, quantiles_by_epoch
from orchestrator.analysis.quantities import LAMBDA_MAX
from orchestrator.store.frames import Frames
from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.study.stability import coupled_weight_decay, stability_threshold

_COLUMNS = ["group", "trial_id", "epoch", "lambda_max", "threshold", "ratio"]


def edge_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per epoch of every SGD trial whose threshold is constant; see `orchestrator.study.stability`.

    Trials with SAM, gradient clipping or a schedule are left out, because their threshold depends on gradient or step.
    Weight decay is added to lambda_max, since it is part of the Hessian of the trained objective.
    """
    trials = frames.trials
    if "optimizer.name" not in trials or not (sgd := _plain_sgd(trials)).any():
        return empty(_COLUMNS)
    chosen = [_edge(trial) for trial in trials[sgd].to_dict("records")]
    data = frames.epochs[["trial_id", "epoch", LAMBDA_MAX]].rename(columns={LAMBDA_MAX: "lambda_max"})
    data = data.merge(pd.DataFrame(chosen), on="trial_id")
    data = data[np.isfinite(data.lambda_max)]
    data["ratio"] = (data.lambda_max + data.weight_decay) / data.threshold
    return pd.DataFrame(data[_COLUMNS]).reset_index(drop=True)


def _plain_sgd(trials: pd.DataFrame) -> "pd.Series[bool]":
    chosen = (trials["optimizer.name"] == "sgd") & (trials["schedule.name"] == "constant")
    for column in ("optimizer.sam.rho", "optimizer.gradient_clip"):
        chosen &= trials[column].isna() if column in trials else True
    return chosen


def _edge(trial: dict[Hashable, Any]) -> dict[str, Any]:
    """Threshold and group of a trial."""
    # Other optimizers in the sweep may make these columns text.
    lr, momentum, decay = (float(trial[f"optimizer.{key}"]) for key in ("lr", "momentum", "weight_decay"))
    nesterov = str(trial["optimizer.nesterov"]) == "True"
    config = SgdConfig(name="sgd", lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    group = f"lr={config.lr:g}" + (f", momentum={config.momentum:g}" if config.momentum else "")
    return {
        "trial_id": trial["trial_id"],
        "threshold": stability_threshold(config, config.lr).value,
        "weight_decay": coupled_weight_decay(config),
        "group": group + (", nesterov" if config.nesterov else ""),
    }


def draw_edge(data: pd.DataFrame) -> Canvas:
    """Draws the median and quartiles over the trials of each group, and a line at 1."""
    drawn, (panel,) = canvas(1, 1, width=5.6, height=3.0)
    for position, (group, part) in enumerate(data.groupby("group", sort=False)):
        spread = quantiles_by_epoch(part.ratio, part.epoch, (0.25, 0.5, 0.75))
        colour = COLOURS[position % len(COLOURS)]
        panel.plot(spread.index, spread[0.5], STYLES[position % len(STYLES)], color=colour, label=group)
        panel.fill_between(spread.index, spread[0.25], spread[0.75], color=colour, alpha=0.18, lw=0)
    panel.axhline(1, color=COLOURS[7], lw=1)
    panel.set_ylabel(r"$\lambda_{\max}$ / stability threshold")
    epoch_axis(panel)
    panel.legend()
    return drawn


def summarise_edge(data: pd.DataFrame) -> str:
    """States the final ratio of each group."""
    last = data.loc[data.groupby("trial_id").epoch.idxmax()].groupby("group", sort=False).ratio.median()
    ratios = ", ".join(f"{group}: {ratio:.2f}" for group, ratio in last.items())
    return f"Ratio at the end of training, median of the trials: {ratios}."


FIGURE = Figure(
    "edge_of_stability",
    "lambda_max against 2/lr",
    "SGD trials without SAM, gradient clipping and schedule. At a ratio of 1, full-batch gradient descent becomes "
    "unstable on a quadratic. The threshold is 2 (1 + momentum) / lr, and lower by 1 + 2 momentum with Nesterov "
    "momentum. Weight decay is added to lambda_max. Minibatch noise usually keeps lambda_max below the threshold. "
    "Lines: median of the trials; bands: quartiles.",
    "SGD trials with lambda_max",
    edge_data,
    draw_edge,
    summarise_edge,
)

"""Beyond the paper: lambda_max relative to the stability threshold of gradient descent on a quadratic, 2/lr."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty, quantiles_by_epoch
from orchestrator.analysis.quantities import LAMBDA_MAX
from orchestrator.store.frames import Frames

_COLUMNS = ["group", "trial_id", "epoch", "lambda_max", "threshold", "ratio"]


def edge_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row per epoch of every SGD trial. The threshold is 2 (1 + momentum) / lr (Cohen et al., ICLR 2021).

    It is also used for Nesterov momentum, whose threshold is lower by a factor of 1 + 2 momentum. Trials with SAM are
    left out, because their threshold depends on the gradient.
    """
    trials = frames.trials
    if "optimizer.name" not in trials or not (sgd := _plain_sgd(trials)).any():
        return empty(_COLUMNS)
    # Other optimizers may make these columns text.
    chosen = trials.loc[sgd, ["trial_id", "optimizer.lr"]].astype({"optimizer.lr": "float64"})
    momentum = trials.loc[sgd, "optimizer.momentum"].astype("float64").fillna(0.0)
    chosen["threshold"] = 2 * (1 + momentum) / chosen["optimizer.lr"]
    chosen["group"] = [
        f"lr={lr:g}" + (f", momentum={m:g}" if m else "")
        for lr, m in zip(chosen["optimizer.lr"], momentum, strict=True)
    ]
    data = frames.epochs[["trial_id", "epoch", LAMBDA_MAX]].rename(columns={LAMBDA_MAX: "lambda_max"})
    data = data.merge(chosen, on="trial_id")
    data = data[np.isfinite(data.lambda_max)]
    data["ratio"] = data.lambda_max / data.threshold
    return pd.DataFrame(data[_COLUMNS]).reset_index(drop=True)


def _plain_sgd(trials: pd.DataFrame) -> "pd.Series[bool]":
    sgd = trials["optimizer.name"] == "sgd"
    return sgd & trials["optimizer.sam.rho"].isna() if "optimizer.sam.rho" in trials else sgd


def draw_edge(data: pd.DataFrame) -> Canvas:
    """Draws the median and quartiles over the trials of each group, and a line at 1."""
    drawn, (panel,) = canvas(1, 1, width=5.6, height=3.0)
    for place, (group, part) in enumerate(data.groupby("group", sort=False)):
        spread = quantiles_by_epoch(part.ratio, part.epoch, (0.25, 0.5, 0.75))
        colour = COLOURS[place % len(COLOURS)]
        panel.plot(spread.index, spread[0.5], STYLES[place % len(STYLES)], color=colour, label=group)
        panel.fill_between(spread.index, spread[0.25], spread[0.75], color=colour, alpha=0.18, lw=0)
    panel.axhline(1, color=COLOURS[7], lw=1)
    panel.set_ylabel(r"$\lambda_{\max}$ / stability threshold")
    panel.set_xlabel("epoch")
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
    "SGD trials without SAM. At a ratio of 1, full-batch gradient descent becomes unstable on a quadratic. The "
    "threshold is 2 (1 + momentum) / lr, that of heavy-ball momentum. Minibatch noise usually keeps lambda_max below "
    "it. Lines: median of the trials; bands: quartiles.",
    "SGD trials with lambda_max",
    edge_data,
    draw_edge,
    summarise_edge,
)

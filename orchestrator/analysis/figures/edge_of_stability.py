"""Beyond the paper: lambda_max against 2/lr, above which gradient descent on a quadratic diverges."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from orchestrator.analysis.figures.figure import COLOURS, STYLES, Figure, canvas, empty
from orchestrator.store.frames import Frames

_COLUMNS = ["group", "trial_id", "epoch", "lambda_max", "threshold", "ratio"]


def edge_data(frames: Frames, by: str | None = None) -> pd.DataFrame:
    """One row an epoch of every trial of SGD; the threshold is 2 (1 + momentum) / lr (Cohen et al., ICLR 2021)."""
    trials = frames.trials
    if "optimizer.name" not in trials or not (sgd := trials["optimizer.name"] == "sgd").any():
        return empty(_COLUMNS)
    chosen = trials.loc[sgd, ["trial_id", "optimizer.lr"]].copy()
    momentum = trials.loc[sgd, "optimizer.momentum"].fillna(0.0)
    chosen["threshold"] = 2 * (1 + momentum) / chosen["optimizer.lr"]
    chosen["group"] = [
        f"lr={lr:g}" + (f", momentum={m:g}" if m else "")
        for lr, m in zip(chosen["optimizer.lr"], momentum, strict=True)
    ]
    found = frames.epochs[["trial_id", "epoch", "hessian_lambda_max"]].merge(chosen, on="trial_id")
    found = found.rename(columns={"hessian_lambda_max": "lambda_max"})
    found = found[np.isfinite(found.lambda_max)]
    found["ratio"] = found.lambda_max / found.threshold
    return pd.DataFrame(found[_COLUMNS]).reset_index(drop=True)


def draw_edge(data: pd.DataFrame) -> Canvas:
    """The median of a group's trials and their quartiles, against 1."""
    drawn, (panel,) = canvas(1, 1, width=5.6, height=3.0)
    for place, (group, part) in enumerate(data.groupby("group", sort=False)):
        spread = part.groupby("epoch").ratio.quantile(np.array([0.25, 0.5, 0.75])).unstack()
        colour = COLOURS[place % len(COLOURS)]
        panel.plot(spread.index, spread[0.5], STYLES[place % len(STYLES)], color=colour, label=group)
        panel.fill_between(spread.index, spread[0.25], spread[0.75], color=colour, alpha=0.18, lw=0)
    panel.axhline(1, color=COLOURS[7], lw=1)
    panel.set_ylabel(r"$\lambda_{\max}$ / stability threshold")
    panel.set_xlabel("epoch")
    panel.legend()
    return drawn


def summarise_edge(data: pd.DataFrame) -> str:
    """Where each group ends."""
    last = data.loc[data.groupby("trial_id").epoch.idxmax()].groupby("group", sort=False).ratio.median()
    told = ", ".join(f"{group}: {ratio:.2f}" for group, ratio in last.items())
    return f"At the end lambda_max is this share of the threshold, median of the trials: {told}."


FIGURE = Figure(
    "edge_of_stability",
    "lambda_max against 2/lr",
    "Trials of SGD. 1 is the eigenvalue at which full-batch gradient descent, with heavy-ball momentum where there is "
    "one, stops to be stable on a quadratic: 2 (1 + momentum) / lr. Minibatches usually keep lambda_max below it. "
    "Lines: median "
    "of the trials, bands: quartiles.",
    "trials of SGD with lambda_max",
    edge_data,
    draw_edge,
    summarise_edge,
)

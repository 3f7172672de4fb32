"""Least squares on changes within trials, with errors that know that a trial's changes belong together.

statsmodels does the arithmetic; the wild cluster bootstrap (Cameron, Gelbach and Miller, Review of Economics and
Statistics 2008) is ours, with the null imposed and Webb's six weights, which serve few clusters too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.stats import t as student

CONSTANT = "constant"
FEW_TRIALS = 50
"""Below, clustered errors are too small, and the bootstrap's p is taken."""
BOOTSTRAP_DRAWS = 999
_WEBB = np.sqrt([1.5, 1.0, 0.5])

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One coefficient of a model."""

    name: str
    estimate: float
    standard_error: float
    """As the paper has it: every epoch a draw of its own."""
    p: float
    clustered_error: float
    """By trial."""
    clustered_p: float
    """Of the wild cluster bootstrap where trials are fewer than `FEW_TRIALS`."""
    fixed_effects_estimate: float
    """Beside one constant a trial; NaN for the constant."""
    fixed_effects_error: float
    """By trial."""
    partial_r2: float
    """The share of what the other terms leave open that this one explains."""

    def interval(self, level: float, trials: int) -> tuple[float, float]:
        """Of the estimate, by the clustered error and Student's t with trials - 1 degrees of freedom."""
        half = float(student.ppf((1 + level) / 2, trials - 1)) * self.clustered_error
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True)
class Model:
    """One fitted model."""

    response: str
    terms: tuple[Term, ...]
    f: float
    aic: float
    r2: float
    n: int
    trials: int

    def __getitem__(self, name: str) -> Term:
        """The term of a name."""
        return next(term for term in self.terms if term.name == name)


def fit(rows: pd.DataFrame, response: str, regressors: Sequence[str], seed: int = 0) -> Model | None:
    """Regresses one change on others. None where there are too few changes, or a regressor never changes.

    Args:
        rows: of `changes`.
        response: the column explained.
        regressors: the columns that explain it, beside a constant.
        seed: of the bootstrap's draws.
    """
    x, y = rows[list(regressors)].to_numpy(dtype=float), rows[response].to_numpy(dtype=float)
    design = sm.add_constant(x, has_constant="add") if len(x) else np.empty((0, len(regressors) + 1))
    if len(design) <= design.shape[1] + 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    clusters = pd.factorize(rows.trial_id)[0]
    trials = int(clusters.max()) + 1
    plain = sm.OLS(y, design).fit()
    clustered = _clustered(plain, clusters, trials)
    fixed = _fixed_effects(x, y, clusters, trials)
    names = (CONSTANT, *regressors)
    terms = []
    for place, name in enumerate(names):
        p = clustered[1][place]
        if 1 < trials < FEW_TRIALS:
            p = wild_bootstrap_p(design, y, clusters, place, seed)
        within = (np.nan, np.nan) if place == 0 or fixed is None else (fixed[0][place - 1], fixed[1][place - 1])
        square = float(plain.tvalues[place]) ** 2
        terms.append(
            Term(
                name,
                float(plain.params[place]),
                float(plain.bse[place]),
                float(plain.pvalues[place]),
                float(clustered[0][place]),
                float(p),
                float(within[0]),
                float(within[1]),
                square / (square + float(plain.df_resid)),
            )
        )
    return Model(response, tuple(terms), float(plain.fvalue), float(plain.aic), float(plain.rsquared), len(y), trials)


def wild_bootstrap_p(design: Array, y: Array, clusters: NDArray[np.int64], place: int, seed: int) -> float:
    """The p of one coefficient being zero, two-sided, by the wild cluster bootstrap-t with the null imposed.

    Coefficient and scores are linear in the clusters' weights, so that all draws are two products of matrices.
    """
    count = int(clusters.max()) + 1
    inverse = np.linalg.inv(design.T @ design)
    weights_of_row = design @ inverse[place]
    rest = np.delete(design, place, axis=1)
    residual = y - rest @ np.linalg.lstsq(rest, y, rcond=None)[0] if rest.shape[1] else y
    member = np.zeros((count, len(y)))
    member[clusters, np.arange(len(y))] = 1.0
    own = member @ (weights_of_row * residual)
    per_cluster_x = member @ (design * weights_of_row[:, None])
    scores = np.diag(own) - per_cluster_x @ inverse @ ((member * residual) @ design).T
    draws = np.random.default_rng(seed).choice(np.concatenate([-_WEBB, _WEBB]), size=(BOOTSTRAP_DRAWS, count))
    every = np.vstack([np.ones(count), draws])
    estimate = every @ own
    spread = np.sqrt(((every @ scores.T) ** 2).sum(axis=1))
    statistic = np.abs(estimate) / np.where(spread > 0, spread, np.inf)
    return float((statistic >= statistic[0] * (1 - 1e-12)).mean())


def _clustered(plain: Any, clusters: NDArray[np.int64], trials: int) -> tuple[Array, Array]:
    if trials < 2:
        nothing = np.full(len(plain.params), np.nan)
        return nothing, nothing
    result = plain.get_robustcov_results("cluster", groups=clusters, use_t=True)
    return result.bse, result.pvalues


def _fixed_effects(x: Array, y: Array, clusters: NDArray[np.int64], trials: int) -> tuple[Array, Array] | None:
    """Estimates and clustered errors with a constant for every trial: distances from the trial's mean."""
    if trials < 2:
        return None
    both = pd.DataFrame(np.column_stack([x, y]))
    centred = (both - both.groupby(clusters).transform("mean")).to_numpy()
    within, response = centred[:, :-1], centred[:, -1]
    if np.linalg.matrix_rank(within) < within.shape[1] or len(y) <= trials + x.shape[1]:
        return None
    result = sm.OLS(response, within).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    return result.params, result.bse

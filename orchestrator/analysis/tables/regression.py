"""Least-squares regression with standard errors clustered by trial.

statsmodels fits the models. The wild cluster bootstrap (Cameron, Gelbach and Miller, Review of Economics and
Statistics 2008) is implemented here, with the null imposed and Webb's six-point weights, which suit few clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.stats import t as student

from orchestrator.analysis.published import CONSTANT

FEW_TRIALS = 50
"""With fewer trials, clustered errors are too small, so the p value comes from the bootstrap."""
BOOTSTRAP_DRAWS = 999
_WEBB = np.sqrt([1.5, 1.0, 0.5])

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """One coefficient of a fitted model."""

    name: str
    estimate: float
    standard_error: float
    """Treats records as independent, as the paper treats epochs."""
    p: float
    clustered_error: float
    """Clustered by trial."""
    clustered_p: float
    """Computed by the wild cluster bootstrap if there are fewer than `FEW_TRIALS` trials."""
    fixed_effects_estimate: float
    """Estimate with one constant per trial (fixed effects); NaN for the constant itself."""
    fixed_effects_error: float
    """Clustered by trial."""
    partial_r2: float
    """Of the variance that the other terms leave unexplained, the fraction that this term explains."""

    def interval(self, level: float, trials: int) -> tuple[float, float]:
        """Confidence interval from the clustered error and Student's t with trials - 1 degrees of freedom."""
        half = float(student.ppf((1 + level) / 2, trials - 1)) * self.clustered_error
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True)
class FittedModel:
    """A fitted regression."""

    terms: tuple[Term, ...]
    f: float
    aic: float
    r2: float
    n: int
    trials: int

    def __getitem__(self, name: str) -> Term:
        """The term of a regressor, or of the constant."""
        return next(term for term in self.terms if term.name == name)


def fit(rows: pd.DataFrame, response: str, regressors: Sequence[str], seed: int = 0) -> FittedModel | None:
    """Fits the regression. Returns None if there are too few changes or the regressors are collinear.

    Args:
        rows: the rows of `RecordChanges`.
        response: the column of the dependent variable.
        regressors: the columns of the regressors. A constant is added.
        seed: seed of the bootstrap.
    """
    x, y = rows[list(regressors)].to_numpy(dtype=float), rows[response].to_numpy(dtype=float)
    design = sm.add_constant(x, has_constant="add") if len(x) else np.empty((0, len(regressors) + 1))
    if len(design) <= design.shape[1] + 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    clusters = pd.factorize(rows.trial_id)[0]
    trials = int(clusters.max()) + 1
    plain = sm.OLS(y, design).fit()
    clustered_error, clustered_p = _clustered(plain, clusters, trials)
    if 1 < trials < FEW_TRIALS:
        positions = range(design.shape[1])
        clustered_p = np.array([wild_bootstrap_p(design, y, clusters, position, seed) for position in positions])
    fixed_estimate, fixed_error = _fixed_effects(x, y, clusters, trials)
    partial_r2 = plain.tvalues**2 / (plain.tvalues**2 + float(plain.df_resid))
    columns = (plain.params, plain.bse, plain.pvalues, clustered_error, clustered_p)
    numbers = zip(*columns, fixed_estimate, fixed_error, partial_r2, strict=True)
    terms = [Term(name, *map(float, row)) for name, row in zip((CONSTANT, *regressors), numbers, strict=True)]
    return FittedModel(tuple(terms), float(plain.fvalue), float(plain.aic), float(plain.rsquared), len(y), trials)


def wild_bootstrap_p(design: Array, y: Array, clusters: NDArray[np.int64], position: int, seed: int) -> float:
    """Two-sided p value of the null hypothesis that the coefficient at `position` is zero.

    Uses the wild cluster bootstrap-t with the null imposed. Coefficients and scores are linear in the weights of the
    clusters, so two matrix products compute all draws.
    """
    count = int(clusters.max()) + 1
    inverse = np.linalg.inv(design.T @ design)
    weights_of_row = design @ inverse[position]
    rest = np.delete(design, position, axis=1)
    residual = y - rest @ np.linalg.lstsq(rest, y, rcond=None)[0] if rest.shape[1] else y
    member = np.zeros((count, len(y)))
    member[clusters, np.arange(len(y))] = 1.0
    own = member @ (weights_of_row * residual)
    per_cluster_x = member @ (design * weights_of_row[:, None])
    scores = np.diag(own) - per_cluster_x @ inverse @ ((member * residual) @ design).T
    draws = np.random.default_rng(seed).choice(np.concatenate([-_WEBB, _WEBB]), size=(BOOTSTRAP_DRAWS, count))
    weights = np.vstack([np.ones(count), draws])
    estimate = weights @ own
    spread = np.sqrt(((weights @ scores.T) ** 2).sum(axis=1))
    statistic = np.abs(estimate) / np.where(spread > 0, spread, np.inf)
    return float((statistic >= statistic[0] * (1 - 1e-12)).mean())


def _clustered(plain: Any, clusters: NDArray[np.int64], trials: int) -> tuple[Array, Array]:
    if trials < 2:
        undefined = np.full(len(plain.params), np.nan)
        return undefined, undefined
    result = plain.get_robustcov_results("cluster", groups=clusters, use_t=True)
    return result.bse, result.pvalues


def _fixed_effects(x: Array, y: Array, clusters: NDArray[np.int64], trials: int) -> tuple[Array, Array]:
    """Estimates and clustered errors with one constant per trial.

    NaN for the constant itself, and NaN for all terms if they cannot be estimated.
    """
    undefined = np.full(x.shape[1] + 1, np.nan)
    if trials < 2:
        return undefined, undefined
    both = pd.DataFrame(np.column_stack([x, y]))
    centred = (both - both.groupby(clusters).transform("mean")).to_numpy()
    within, response = centred[:, :-1], centred[:, -1]
    if np.linalg.matrix_rank(within) < within.shape[1] or len(y) <= trials + x.shape[1]:
        return undefined, undefined
    result = sm.OLS(response, within).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    return np.append(np.nan, result.params), np.append(np.nan, result.bse)

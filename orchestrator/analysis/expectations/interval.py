"""Interval of a mean over seeds, and the number of seeds that would suffice.

An expectation is reproduced if the 90% interval lies inside the accepted range. These are two one-sided tests at the 5%
level (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987): if the true value is outside the range, the
interval lies inside in at most 5% of repetitions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import norm
from scipy.stats import t as student

ALPHA = 0.05
"""Level of each one-sided test."""
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Measured:
    """The statistic of one trial, with the error of its measurement."""

    value: float
    bound: float = 0.0
    """Bound of a systematic error, such as the residual of an eigenvalue or the distance of two records."""
    standard_error: float = 0.0


@dataclass(frozen=True)
class Interval:
    """A mean over trials and its 90% confidence interval, widened by the bound of the systematic error."""

    value: float
    spread: float
    """Standard deviation over the trials; NaN with one trial. Of an estimate: its standard error times sqrt(trials)."""
    trials: int
    bound: float
    standard_error: float
    """Of the mean."""
    degrees: float
    """Degrees of freedom of the standard error; infinite if it is known."""

    def half_width(self, alpha: float = ALPHA) -> float:
        """Half the width of the interval with level 1 - 2 alpha."""
        return _quantile(alpha, self.degrees) * self.standard_error + self.bound

    @property
    def low(self) -> float:
        """Lower end of the 90% interval."""
        return self.value - self.half_width()

    @property
    def high(self) -> float:
        """Upper end of the 90% interval."""
        return self.value + self.half_width()

    def inside(self, low: float, high: float) -> bool:
        """Whether the interval lies inside a range."""
        return low <= self.low and self.high <= high

    def outside(self, low: float, high: float, tests: int = 1) -> bool:
        """Whether the value lies outside a range at the 5% level, with Bonferroni's correction for several tests."""
        half = self.half_width(ALPHA / tests)
        return self.value - half > high or self.value + half < low

    def required_trials(self, low: float, high: float) -> int | None:
        """The number of trials for which the interval would lie on one side of both ends, if nothing else changes.

        None if more than a thousand would be needed, or the bound of the systematic error is too large.
        """
        distance = min(abs(self.value - low), abs(self.value - high)) - self.bound
        if not math.isfinite(self.spread):
            return None
        enough = (n for n in range(2, _MOST_SEEDS + 1) if _quantile(ALPHA, n - 1) * self.spread <= distance * n**0.5)
        return next(enough, None)


def interval_of(trials: Sequence[Measured]) -> Interval:
    """Returns the interval of the mean over trials. With one trial, its spread is unknown and its own error counts."""
    values, bound = [each.value for each in trials], fmean(each.bound for each in trials)
    if len(trials) == 1:
        return Interval(values[0], math.nan, 1, bound, trials[0].standard_error, math.inf)
    spread = stdev(values) if all(map(math.isfinite, values)) else math.inf
    return Interval(fmean(values), spread, len(values), bound, spread / len(values) ** 0.5, len(values) - 1)


def _quantile(alpha: float, degrees: float) -> float:
    return float(norm.ppf(1 - alpha) if math.isinf(degrees) else student.ppf(1 - alpha, degrees))

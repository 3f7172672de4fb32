"""Confidence interval of the mean of skewed samples."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from estimators.trace.student_t import student_quantile

MIN_SAMPLES = 20
"""From this number on, the coverage at 95% was 93% to 96% for batch sharpness in training (benchmarks/README.md)."""


def skewed_mean_interval(samples: Sequence[float], level: float) -> tuple[float, float]:
    """The interval (low, high) of the mean of independent samples, from the t statistic corrected for skewness.

    Right-skewed samples tend to give a mean and a standard error that are both too small, so Student's interval misses
    a larger mean too often. Hall's monotone transformation (1992, Journal of the Royal Statistical Society B 54,
    221-228) removes the skewness of the t statistic to first order. It is compared with Student quantiles instead of
    normal ones, for the uncertainty of the standard error. If the samples are symmetric, this is Student's interval.

    Returns:
        NaN for both ends if a sample is infinite or NaN.

    Raises:
        ValueError: if level is outside (0, 1) or there are fewer than 2 samples.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}, expected a probability in (0, 1): for 95% pass 0.95")
    if len(samples) < 2:
        raise ValueError(f"there is {len(samples)} sample, expected at least 2 for an interval: pass more")
    if not all(map(math.isfinite, samples)):
        return math.nan, math.nan
    mean, error = fmean(samples), stdev(samples) / math.sqrt(len(samples))
    quantile, skewness = student_quantile((1.0 + level) / 2.0, len(samples) - 1.0), _skewness(samples, mean)
    low, high = (mean - error * _inverse(sign * quantile, skewness, len(samples)) for sign in (1.0, -1.0))
    return low, high


def _skewness(samples: Sequence[float], mean: float) -> float:
    """The third central moment of the samples in units of their standard deviation; 0 if they are equal."""
    variance = fmean((sample - mean) ** 2 for sample in samples)
    return fmean((sample - mean) ** 3 for sample in samples) / variance**1.5 if variance else 0.0


def _inverse(value: float, skewness: float, count: int) -> float:
    """The t statistic T whose transform T + r T^2 / 3 + r^2 T^3 / 27 + r / 6 is value, with r = skewness / sqrt(n).

    The transform is (r^2 / 27) (T + 3 / r)^3 - 1 / r + r / 6. With c = (1 + r (value - r / 6))^(1/3), this gives
    T = 3 (c - 1) / r. The form below also holds for r = 0.
    """
    r = skewness / math.sqrt(count)
    cube_root = math.cbrt(1.0 + r * (value - r / 6.0))
    return 3.0 * (value - r / 6.0) / (cube_root**2 + cube_root + 1.0)

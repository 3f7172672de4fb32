"""The interval of the mean of skewed samples: its defining equation, its symmetric limit and its coverage."""

import math
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from estimators.gradients.skewed_mean import MIN_SAMPLES, skewed_mean_interval


def transformed(samples: list[float], truth: float) -> float:
    """Hall's transform of the t statistic for a true mean, as in equation (2.3) of his paper."""
    n, skewness = len(samples), float(stats.skew(samples))
    t = (fmean(samples) - truth) / (stdev(samples) / math.sqrt(n))
    return t + skewness * t**2 / (3 * math.sqrt(n)) + skewness**2 * t**3 / (27 * n) + skewness / (6 * math.sqrt(n))


@pytest.mark.parametrize("count", [2, 3, 5, 32])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_the_transform_of_both_ends_is_a_quantile(count: int, level: float) -> None:
    samples = np.random.default_rng(count).lognormal(size=count).tolist()
    low, high = skewed_mean_interval(samples, level)
    quantile = float(stats.t.ppf((1 + level) / 2, count - 1))
    assert transformed(samples, low) == pytest.approx(quantile, rel=1e-9)
    assert transformed(samples, high) == pytest.approx(-quantile, rel=1e-9)


def test_symmetric_samples_have_students_interval() -> None:
    half = float(stats.t.ppf(0.975, 2)) / math.sqrt(3)
    assert skewed_mean_interval([1.0, 2.0, 3.0], 0.95) == pytest.approx((2 - half, 2 + half), rel=1e-12)
    assert skewed_mean_interval([2.0, 2.0], 0.95) == (2.0, 2.0)


def test_it_scales_with_the_samples_and_mirrors_with_their_sign() -> None:
    samples = np.random.default_rng(0).exponential(size=20).tolist()
    low, high = skewed_mean_interval(samples, 0.95)
    assert fmean(samples) - low < high - fmean(samples)
    scaled = skewed_mean_interval([1e-20 * sample for sample in samples], 0.95)
    assert scaled == pytest.approx((1e-20 * low, 1e-20 * high), rel=1e-9)
    assert skewed_mean_interval([-sample for sample in samples], 0.95) == pytest.approx((-high, -low), rel=1e-9)


@pytest.mark.parametrize("count", [MIN_SAMPLES, 32])
def test_it_covers_the_mean_of_skewed_samples(count: int) -> None:
    """Gamma variables of skewness 1.8, as batch sharpness in training. Student's interval covers 92% to 93%."""
    shape, runs = (2 / 1.8) ** 2, 4000
    drawn = np.random.default_rng(0).gamma(shape, size=(runs, count)).tolist()
    covered = sum(low <= shape <= high for low, high in (skewed_mean_interval(samples, 0.95) for samples in drawn))
    assert 0.93 <= covered / runs <= 0.97


def test_samples_that_are_not_finite_have_no_interval() -> None:
    assert all(map(math.isnan, skewed_mean_interval([1.0, math.inf, 2.0], 0.95)))


@pytest.mark.parametrize(
    ("samples", "level", "message"),
    [([1.0], 0.95, "there is 1 sample, expected at least 2"), ([1.0, 2.0], 1.0, "level is 1.0, expected a prob")],
)
def test_invalid_arguments_are_explained(samples: list[float], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skewed_mean_interval(samples, level)

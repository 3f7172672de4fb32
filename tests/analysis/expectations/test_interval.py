"""Intervals against scipy and published tables, and the rate of false outcomes on noise."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from orchestrator.analysis.expectations.interval import Measured, interval_of

LOW, HIGH = 0.9, 1.1
REPEATS = 4000


def test_is_student_s_interval_of_the_mean() -> None:
    values = [1.0, 1.1, 1.3]
    interval = interval_of([Measured(value) for value in values])
    expected = student.interval(0.90, 2, loc=np.mean(values), scale=np.std(values, ddof=1) / math.sqrt(3))
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-12)
    assert interval.spread == pytest.approx(np.std(values, ddof=1))


def test_a_systematic_error_widens_the_interval_on_both_sides() -> None:
    exact = interval_of([Measured(1.0), Measured(1.1)])
    bounded = interval_of([Measured(1.0, bound=0.2), Measured(1.1, bound=0.4)])
    assert (exact.low - bounded.low, bounded.high - exact.high) == pytest.approx((0.3, 0.3))


def test_a_single_trial_has_the_error_of_its_measurement() -> None:
    interval = interval_of([Measured(2.0, 0.1, standard_error=0.5)])
    assert math.isnan(interval.spread)
    assert interval.high - interval.value == pytest.approx(0.1 + 1.6449 * 0.5, abs=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("spread", [0.01, 0.1, 1.0])
def test_noise_at_the_limit_is_reproduced_in_at_most_five_percent(seeds: int, spread: float) -> None:
    draws = np.random.default_rng(seeds).normal(HIGH, spread, (REPEATS, seeds))
    lucky = np.mean([interval_of([Measured(value) for value in draw]).inside(LOW, HIGH) for draw in draws])
    assert lucky <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_value_inside_is_refuted_in_at_most_five_percent(groups: int) -> None:
    draws = np.random.default_rng(groups).normal(HIGH, 0.1, (REPEATS // groups, groups, 3))
    refuted = np.mean(
        [
            any(interval_of([Measured(value) for value in group]).outside(LOW, HIGH, groups) for group in draw)
            for draw in draws
        ]
    )
    assert refuted <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (REPEATS // groups))


def test_the_required_number_of_trials_suffices_and_one_less_does_not() -> None:
    interval = interval_of([Measured(0.95), Measured(1.05), Measured(1.09)])
    needed = interval.required_trials(LOW, HIGH)
    assert needed is not None
    assert not interval.inside(LOW, HIGH)
    distance = HIGH - interval.value

    def half(trials: int) -> float:
        return float(student.ppf(0.95, trials - 1)) * interval.spread / math.sqrt(trials)

    assert half(needed) <= distance < half(needed - 1)


def test_no_number_of_trials_suffices_for_a_measurement_that_is_too_coarse() -> None:
    assert interval_of([Measured(1.0, bound=0.2), Measured(1.0, bound=0.2)]).required_trials(LOW, HIGH) is None

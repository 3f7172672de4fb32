"""Which quantities to measure rarely."""

from benchmarks.training_loop.record import BASE, EVERYTHING, affordable


def test_the_costliest_quantities_are_measured_rarely_until_the_goal_is_met() -> None:
    seconds = {"lanczos": 1.0, "exact_trace": 1.0, "spectral_density": 20.0, "layers": 5.0, "stability": 1.0}
    assert affordable(seconds, base=2.0, goal=3.0) == {"spectral_density": 100, "layers": 10}
    assert affordable(seconds, base=2.0, goal=10.0) == {"spectral_density": 10}
    assert affordable(seconds, base=2.0, goal=100.0) == {}


def test_the_base_is_always_measured() -> None:
    assert affordable({"lanczos": 9.0, "exact_trace": 9.0, "layers": 1.0}, base=1.0) == {"layers": 10}


def test_everything_has_one_trace() -> None:
    assert set(BASE) < set(EVERYTHING)
    assert "sampled_trace" not in EVERYTHING

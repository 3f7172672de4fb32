"""Coverage of the intervals for many spectra, and their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from estimators import HutchinsonResult, hutchinson, lanczos, required_probes
from estimators.operators.random_vectors import Distribution
from estimators.trace.intervals import MIN_PROBES, MIN_PROBES_INDEFINITE, degrees_of_freedom
from tests.estimators.cases import MatrixOperator, seeded, symmetric
from tests.estimators.trace.batched_probes import batched_results, draw

DRAWS = 2000
# The coverage of Chebyshev intervals has a lower bound only, far below their actual coverage.
CHEBYSHEV_DRAWS = 500

SPECTRA = {
    "one eigenvalue": [1.0],
    "ten equal": [1.0] * 10,
    "one above a bulk": [10.0] + [0.5] * 99,
    "falling like 1 / k": [1.0 / k for k in range(1, 61)],
    "both signs": [3.0, -2.0, 1.5, -1.5, 1.0, -1.0, 0.5, 0.5, 0.3, -0.3],
    "two opposite": [1.0, -1.0],
    "many of both signs": [1.0, -0.9] * 12,
}

both = pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])


def planted(name: str, size: int = 100) -> Tensor:
    values = SPECTRA[name]
    return symmetric(values + [0.0] * (size - len(values)))


def coverage(results: list[HutchinsonResult], trace: float, method: str) -> float:
    ends = [result.interval(method=method) for result in results]  # type: ignore[arg-type]
    return sum(low <= trace <= high for low, high in ends) / len(ends)


@both
@pytest.mark.parametrize("name", SPECTRA)
def test_intervals_cover_the_trace_at_their_level(name: str, distribution: Distribution) -> None:
    matrix = planted(name)
    trace = float(matrix.trace())
    results = batched_results(matrix, draw((DRAWS, MIN_PROBES, len(matrix)), distribution), distribution)
    trusted = [result for result in results if result.too_few_probes is None]
    doubted = DRAWS - len(trusted)
    assert coverage(results[:CHEBYSHEV_DRAWS], trace, "chebyshev") >= 0.95
    if name == "two opposite":
        assert doubted > 0.5 * DRAWS
    else:
        assert doubted < (0.3 if name == "both signs" else 0.05) * DRAWS
        assert 0.93 <= coverage(trusted, trace, "student") <= 0.97


def test_twenty_probes_are_enough_for_two_opposite_eigenvalues() -> None:
    matrix = planted("two opposite")
    results = batched_results(matrix, draw((DRAWS, MIN_PROBES_INDEFINITE, len(matrix)), "gaussian"), "gaussian")
    assert not any(result.too_few_probes for result in results)
    assert 0.93 <= coverage(results, float(matrix.trace()), "student") <= 0.97


@both
@pytest.mark.parametrize("name", ["one eigenvalue", "both signs"])
def test_two_probes_are_enough_for_chebyshev_only(name: str, distribution: Distribution) -> None:
    matrix = planted(name)
    results = batched_results(matrix, draw((CHEBYSHEV_DRAWS, 2, len(matrix)), distribution), distribution)
    assert all(result.too_few_probes for result in results)
    assert coverage(results, float(matrix.trace()), "chebyshev") >= 0.95


def test_intervals_of_deflated_probes_cover_the_trace() -> None:
    op = MatrixOperator(planted("one above a bulk"))
    subspace = lanczos(op, 4, tolerance=0.0, generator=seeded(1))
    vectors = draw((DRAWS, MIN_PROBES, op.size), "rademacher")
    results = batched_results(op.matrix, vectors, "rademacher", subspace)
    assert 0.93 <= coverage(results, float(op.matrix.trace()), "student") <= 0.97


def result(samples: int = 12) -> HutchinsonResult:
    return hutchinson(MatrixOperator(planted("both signs")), samples, generator=seeded(0))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_intervals_equal_their_formulas(level: float) -> None:
    found = result()
    assert found.variance == pytest.approx(2 * sum(found.squared_norms) / 12)
    norms = torch.tensor(found.squared_norms, dtype=torch.float64)
    relative = (float(norms.var()) / float(norms.mean()) ** 2 * 11 + 2 * 0.2) / (11 + 0.2)
    degrees, error = 12 * 2 / relative, math.sqrt(found.variance / 12)
    expected = stats.t.interval(level, degrees, loc=found.value, scale=error)
    assert found.interval(level) == pytest.approx(expected, rel=1e-9)
    wider = stats.t.ppf((1 + level) / 2, degrees) / stats.norm.ppf((1 + level) / 2) / math.sqrt(1 - level)
    assert found.interval(level, "chebyshev") == pytest.approx(
        (found.value - wider * error, found.value + wider * error)
    )


def test_degrees_of_freedom_count_probes_and_eigenvalues() -> None:
    for rank in (1, 5, 40):
        found = hutchinson(MatrixOperator(symmetric([1.0] * rank + [0.0] * 60)), 4000, generator=seeded(0))
        assert degrees_of_freedom(found.squared_norms, found.variance) == pytest.approx(
            min(4000 * rank, 10_000), rel=0.1
        )
    assert degrees_of_freedom((1.0, 100.0, 1.0, 1.0), 51.5) == 4.0
    assert degrees_of_freedom((1.0, 1.0), 0.0) == 10_000.0


def test_too_few_probes_are_reported_in_words_and_in_the_repr() -> None:
    enough = replace(result(10), samples=(1.0, 2.0) * 5)
    assert enough.too_few_probes is None and "too_few" not in repr(enough)
    few = result(9)
    assert few.too_few_probes == (
        "9 probes, expected at least 10 for the Student t interval: take more probes or use the Chebyshev interval"
    )
    assert "too_few_probes='9 probes, expected at least 10" in repr(few)
    opposite = replace(result(10), samples=(1.0, -1.0) * 5, squared_norms=(0.1, 4.0) * 5, variance=4.1)
    assert opposite.too_few_probes == (
        "10 probes, expected at least 20 for the Student t interval, since a few eigenvalues of both signs dominate the"
        " trace: take more probes or use the Chebyshev interval"
    )


def test_nonfinite_norms_give_a_nan_interval() -> None:
    broken = replace(result(), value=math.nan, variance=math.nan, squared_norms=(math.nan,) * 12)
    for method in ("student", "chebyshev"):
        assert all(math.isnan(end) for end in broken.interval(method=method))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, r"level is 1.0, expected a probability in \(0, 1\)"),
        ({"level": math.nan}, "level is nan"),
        ({"method": "exact"}, 'method is \'exact\', expected "student" or "chebyshev"'),
    ],
)
@pytest.mark.parametrize("probes", [1, 3])
def test_bad_arguments_are_rejected(options, message: str, probes: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        result(probes).interval(**options)


# Computed by hand: 50 / (sqrt(0.05) * 23.3) and its square.
@pytest.mark.parametrize(
    ("mean", "std", "options", "published", "right"),
    [
        (233.0, 50.0, {}, 9.597, 92.10),
        (-233.0, 50.0, {}, 9.597, 92.10),
        (233.0, 50.0, {"epsilon": 0.2, "delta": 0.1}, 3.393, 11.51),
        (0.0, 2.0, {}, 8.944, 80.0),
        (5.0, 2.0, {"epsilon_abs": 0.0}, 17.889, 320.0),
        (5.0, 0.0, {}, 0.0, 0.0),
    ],
)
def test_required_probes(mean: float, std: float, options: dict[str, float], published: float, right: float) -> None:
    assert required_probes(mean, std, **options, published=True) == pytest.approx(published, abs=5e-4)
    assert required_probes(mean, std, **options) == pytest.approx(right, abs=5e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": math.nan}, "mean is nan, expected a finite number"),
        ({"std": -1.0}, "std is -1.0, expected a finite number, at least 0"),
        ({"std": math.nan}, "std is nan"),
        ({"epsilon": -0.1}, "epsilon is -0.1 and epsilon_abs 1.0, expected finite numbers"),
        ({"epsilon_abs": math.inf}, "epsilon_abs inf, expected finite numbers"),
        ({"delta": 0.0}, r"delta is 0.0, expected a probability in \(0, 1\)"),
        ({"delta": 1.0}, "delta is 1.0"),
        ({"mean": 0.0, "epsilon_abs": 0.0}, "is zero, expected more: raise epsilon_abs"),
    ],
)
def test_bad_arguments_of_required_probes_are_rejected(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        required_probes(**({"mean": 1.0, "std": 1.0} | options))

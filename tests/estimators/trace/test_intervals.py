"""Intervals hold the trace as often as they say, whatever the spectrum, and are their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from estimators import HutchinsonResult, hutchinson, lanczos
from estimators.operators.random_vectors import Distribution
from estimators.trace.intervals import MIN_PROBES, MIN_PROBES_INDEFINITE, degrees_of_freedom
from estimators.trace.student_t import student_quantile
from tests.estimators.cases import MatrixOperator, seeded, symmetric

DRAWS = 2000

SPECTRA = {
    "one eigenvalue": [1.0],
    "ten equal": [1.0] * 10,
    "one above a bulk": [10.0] + [0.5] * 99,
    "falling like 1 / k": [1.0 / k for k in range(1, 61)],
    "both signs": [3.0, -2.0, 1.5, -1.5, 1.0, -1.0, 0.5, 0.5, 0.3, -0.3],
    "two opposite": [1.0, -1.0],
    "many of both signs": [1.0, -0.9] * 12,
}


def planted(name: str, size: int = 100) -> torch.Tensor:
    values = SPECTRA[name]
    return symmetric(values + [0.0] * (size - len(values)))


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
@pytest.mark.parametrize("name", SPECTRA)
def test_they_cover_the_trace_as_often_as_they_say(name: str, distribution: Distribution) -> None:
    matrix, generator = planted(name), seeded(0)
    trace = float(matrix.trace())
    student = chebyshev = doubted = 0
    for _ in range(DRAWS):
        result = hutchinson(MatrixOperator(matrix), MIN_PROBES, distribution, generator=generator)
        doubted += result.too_few_probes is not None
        student += result.too_few_probes is None and _holds(result.interval(), trace)
        chebyshev += _holds(result.interval(method="chebyshev"), trace)
    assert chebyshev / DRAWS >= 0.95
    if name == "two opposite":
        assert doubted > 0.5 * DRAWS
    else:
        assert doubted < (0.3 if name == "both signs" else 0.05) * DRAWS
        assert 0.93 <= student / (DRAWS - doubted) <= 0.97


def test_twenty_probes_are_enough_for_two_opposite_eigenvalues() -> None:
    matrix, generator = planted("two opposite"), seeded(0)
    trace, student = float(matrix.trace()), 0
    for _ in range(DRAWS):
        result = hutchinson(MatrixOperator(matrix), MIN_PROBES_INDEFINITE, generator=generator)
        assert result.too_few_probes is None
        student += _holds(result.interval(), trace)
    assert 0.93 <= student / DRAWS <= 0.97


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
@pytest.mark.parametrize("name", ["one eigenvalue", "both signs"])
def test_with_two_probes_chebyshev_holds_and_student_is_doubted(name: str, distribution: Distribution) -> None:
    matrix, generator = planted(name), seeded(0)
    trace, chebyshev = float(matrix.trace()), 0
    for _ in range(DRAWS):
        result = hutchinson(MatrixOperator(matrix), 2, distribution, generator=generator)
        assert result.too_few_probes is not None
        chebyshev += _holds(result.interval(method="chebyshev"), trace)
    assert chebyshev / DRAWS >= 0.95


def test_deflated_probes_cover_too() -> None:
    op = MatrixOperator(planted("one above a bulk"))
    subspace, generator = lanczos(op, 4, tolerance=0.0, generator=seeded(1)), seeded(0)
    inside = 0
    for _ in range(DRAWS):
        result = hutchinson(op, MIN_PROBES, "rademacher", deflate=subspace, generator=generator)
        inside += _holds(result.interval(), float(op.matrix.trace()))
    assert 0.93 <= inside / DRAWS <= 0.97


def _holds(interval: tuple[float, float], trace: float) -> bool:
    return interval[0] <= trace <= interval[1]


def result(samples: int = 12) -> HutchinsonResult:
    return hutchinson(MatrixOperator(planted("both signs")), samples, generator=seeded(0))


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_they_are_their_formulas(level: float) -> None:
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


def test_degrees_count_probes_and_eigenvalues() -> None:
    for rank in (1, 5, 40):
        found = hutchinson(MatrixOperator(symmetric([1.0] * rank + [0.0] * 60)), 4000, generator=seeded(0))
        assert degrees_of_freedom(found.squared_norms, found.variance) == pytest.approx(
            min(4000 * rank, 10_000), rel=0.1
        )
    assert degrees_of_freedom((1.0, 100.0, 1.0, 1.0), 51.5) == 4.0
    assert degrees_of_freedom((1.0, 1.0), 0.0) == 10_000.0


def test_few_probes_are_said_in_words_and_in_the_repr() -> None:
    enough = replace(result(10), samples=(1.0, 2.0) * 5)
    assert enough.too_few_probes is None and "too_few" not in repr(enough)
    few = result(9)
    assert few.too_few_probes == "9 probes, expected 10 for Student's interval: take more probes, or Chebyshev's"
    assert 'too_few_probes="9 probes, expected 10' in repr(few)
    opposite = replace(result(10), samples=(1.0, -1.0) * 5, squared_norms=(0.1, 4.0) * 5, variance=4.1)
    assert opposite.too_few_probes == (
        "10 probes, expected 20 for Student's interval, since few eigenvalues of both signs make up the trace: take"
        " more probes, or Chebyshev's"
    )


def test_a_norm_that_is_not_finite_leaves_no_interval() -> None:
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
def test_bad_arguments_are_refused(options, message: str, probes: int) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        result(probes).interval(**options)


@pytest.mark.parametrize("degrees", [1, 1.3, 2, 3, 9, 30.5, 1000, 10_000])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.9999])
def test_student_quantiles_are_those_of_scipy(probability: float, degrees: float) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert student_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-15)

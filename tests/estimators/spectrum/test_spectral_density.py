"""The spectral density against dense eigenvalues."""

import math

import pytest
import torch

from estimators import lanczos, spectral_density, top_eigenvalues
from tests.estimators.cases import CASES, Case, MatrixOperator, operator, seeded, symmetric
from tests.estimators.dense import dense_hessian_of
from tests.estimators.spectrum.spectra import distance, outliers_and_bulk

BOTH = pytest.mark.parametrize("deflate", [False, True])


def small() -> MatrixOperator:
    return MatrixOperator(symmetric(outliers_and_bulk()))


@BOTH
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_moments_of_networks_equal_traces(case: Case, deflate: bool) -> None:
    matrix = dense_hessian_of(case)
    result = spectral_density(operator(case), 20, 8, seeded(0), deflate=deflate)
    scale = float(torch.linalg.matrix_norm(matrix, 2))
    assert result.moment(0).value == pytest.approx(1.0)
    for power in (1, 2, 3):
        moment = result.moment(power)
        expected = float(torch.linalg.matrix_power(matrix, power).trace()) / len(matrix)
        assert abs(moment.value - expected) <= 4.5 * moment.standard_error + 2e-3 * scale**power


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_moments_of_one_probe_are_exact_quadratic_forms(steps: int) -> None:
    op = small()
    probe = torch.randn(op.size, dtype=torch.float64, generator=seeded(5))
    probe /= probe.norm()
    result = spectral_density(op, 1, steps, seeded(5))
    assert result.nodes.shape == result.weights.shape == (1, steps) and result.products == op.products == steps
    for power in range(2 * steps):
        expected = float(probe @ torch.linalg.matrix_power(op.matrix, power) @ probe)
        assert result.moment(power).value == pytest.approx(expected, rel=1e-10)


def test_standard_errors_of_moments_equal_their_spread() -> None:
    results = [spectral_density(small(), 2, 6, seeded(seed), deflate=False).moment(1) for seed in range(100)]
    spread = torch.tensor([moment.value for moment in results]).std()
    errors = torch.tensor([moment.standard_error for moment in results])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(spread), rel=0.25)


@BOTH
@pytest.mark.parametrize(("probes", "steps"), [(1, 30), (4, 15), (8, 40)])
def test_the_error_bounds_the_distance_from_the_spectrum(deflate: bool, probes: int, steps: int) -> None:
    for seed in range(5):
        result = spectral_density(small(), probes, steps, seeded(seed), deflate=deflate)
        nodes, masses = result.measure()
        assert float(masses.sum()) == pytest.approx(1.0)
        assert distance(nodes, masses, outliers_and_bulk()) <= result.error <= 0.05 * result.range


def test_deflation_pays_at_equal_products() -> None:
    found: dict[bool, float] = {False: 0.0, True: 0.0}
    for deflate in found:
        for seed in range(10):
            result = spectral_density(small(), 6 - deflate, 20, seeded(seed), deflate=deflate)
            assert result.products == 120
            found[deflate] += distance(*result.measure(), outliers_and_bulk())
    assert found[True] < 0.5 * found[False]


def test_a_lanczos_result_gives_the_outliers() -> None:
    op = small()
    subspace = lanczos(op, 20, tolerance=0.0, generator=seeded(1))
    result = spectral_density(op, 2, 20, seeded(0), deflate=subspace)
    assert result.products == 40 and len(result.known) >= 5
    torch.testing.assert_close(result.known[-5:], outliers_and_bulk()[-5:], rtol=1e-3, atol=0)


@pytest.mark.parametrize("k", [1, 4])
def test_top_eigenvalues_are_not_computed_again(k: int) -> None:
    op = small()
    found = top_eigenvalues(op, k, generator=seeded(1))
    result = spectral_density(op, 1, 30, seeded(0), deflate=found)
    assert result.products == 30 and result.known.tolist() == pytest.approx(found.values.flip(0).tolist())
    nodes, masses = result.measure()
    assert distance(nodes, masses, outliers_and_bulk()) <= result.error <= 0.05 * result.range


def test_converged_says_whether_the_requested_error_is_reached() -> None:
    enough = spectral_density(small(), 50, 60, seeded(0), error=0.01)
    assert enough.converged and enough.relative_error <= 0.01
    few = spectral_density(small(), 2, 4, seeded(0), error=0.001)
    assert few.converged is False and few.relative_error > 0.001
    assert spectral_density(small(), 2, 4, seeded(0)).converged is None


@BOTH
def test_densities_integrate_to_one_and_shares_rise_from_zero_to_one(deflate: bool) -> None:
    result = spectral_density(small(), 4, 20, seeded(0), deflate=deflate)
    grid = torch.linspace(-2.0, 6.0, 801)
    density, cumulative = result.density(grid, width=0.1), result.cumulative(grid)
    assert float(torch.trapezoid(density.values, grid.double())) == pytest.approx(1.0, abs=1e-6)
    assert cumulative.values[0] == 0.0 and float(cumulative.values[-1]) == pytest.approx(1.0)
    assert bool((cumulative.values.diff() >= 0.0).all())
    for curve in (density, cumulative):
        assert bool(((curve.low <= curve.values + 1e-12) & (curve.values <= curve.high + 1e-12)).all())


def test_a_zero_matrix_has_all_of_its_mass_at_zero() -> None:
    result = spectral_density(MatrixOperator(torch.zeros(5, 5)), 3, 4, seeded(0), error=0.1)
    assert result.error == result.range == 0.0 and result.converged
    assert bool((result.measure()[0] == 0.0).all())


@BOTH
def test_nan_is_nan_and_has_not_converged(deflate: bool) -> None:
    matrix = torch.eye(5)
    matrix[2, 3] = matrix[3, 2] = math.nan
    result = spectral_density(MatrixOperator(matrix), 3, 4, seeded(0), error=0.1, deflate=deflate)
    assert result.converged is False and math.isnan(result.error) and math.isnan(result.moment(1).value)
    curve = result.density(torch.zeros(1), 0.1)
    assert all(math.isnan(float(values)) for values in (curve.values, curve.low, curve.high))


def test_float32_agrees_with_float64() -> None:
    matrix = symmetric(outliers_and_bulk())
    single = spectral_density(MatrixOperator(matrix.float()), 4, 20, seeded(0))
    assert distance(*single.measure(), outliers_and_bulk()) <= single.error
    assert single.nodes.dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 0}, "probes is 0, expected at least 1"),
        ({"steps": 0}, "steps is 0, expected at least 1"),
        ({"error": 0.0}, "error is 0.0, expected a positive share"),
        ({"error": math.nan}, "error is nan"),
    ],
)
def test_bad_arguments_are_rejected(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spectral_density(MatrixOperator(torch.eye(3)), **options)  # type: ignore[arg-type]


def test_bad_arguments_of_methods_are_rejected() -> None:
    result = spectral_density(MatrixOperator(torch.eye(3)), 2, 2, seeded(0))
    grid = torch.zeros(2)
    for call, message in (
        (lambda: result.moment(-1), "power is -1, expected at least 0"),
        (lambda: result.density(grid, 0.0), "width is 0.0, expected a positive number"),
        (lambda: result.density(grid[None], 1.0), r"the grid has shape \(1, 2\), expected one dimension"),
        (lambda: result.cumulative(grid, 1.0), r"level is 1.0, expected a probability in \(0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

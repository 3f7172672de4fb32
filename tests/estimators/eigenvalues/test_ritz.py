"""Error estimate and convergence criterion of Ritz values, in runs of Lanczos."""

from statistics import median

import pytest
import torch

from estimators import lanczos
from estimators.eigenvalues.ritz import Ritz
from tests.estimators.cases import MatrixOperator, seeded, symmetric
from tests.estimators.eigenvalues.matrices import matrix_above_bulk


def test_ritz_pairs_equal_the_eigenpairs_of_the_tridiagonal_matrix() -> None:
    matrix = torch.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 0.5]], dtype=torch.float64)
    coupling = torch.tensor([[0.0, 0.0, 0.1]], dtype=torch.float64)
    ritz = Ritz.of(matrix, coupling, eps=1e-16, full=False)
    torch.testing.assert_close(matrix @ ritz.vectors, ritz.vectors * torch.tensor(ritz.values, dtype=torch.float64))
    assert ritz.residual(-1) == 0.1 * abs(float(ritz.vectors[-1, -1]))
    assert ritz.finite and not ritz.invariant


def test_the_error_is_at_most_the_squared_residual_over_the_gap() -> None:
    op = MatrixOperator(matrix_above_bulk([3.0, 2.0]))
    for products in range(2, 7):
        result = lanczos(op, products, tolerance=0.0, generator=seeded(0))
        below, top = torch.linalg.eigvalsh(result.tridiagonal)[-2:].tolist()
        assert result.error <= min(result.residual, result.residual**2 / (top - below)) * (1 + 1e-9)
        assert result.error / 10 < 3.0 - result.lambda_max < 3 * result.error
    single = lanczos(op, 1, generator=seeded(0))
    assert single.error == single.residual


def test_error_of_close_ritz_values_is_extrapolated_from_the_last_steps() -> None:
    """Many small and a few large, close eigenvalues: the gap alone overestimates the error by a factor of two."""
    op = MatrixOperator(symmetric(torch.linspace(0, 1, 200, dtype=torch.float64) ** 8))
    by_steps, by_gap = [], []
    for seed in range(20):
        result = lanczos(op, 10, tolerance=0.0, generator=seeded(seed))
        below, top = torch.linalg.eigvalsh(result.tridiagonal)[-2:].tolist()
        by_steps.append((1.0 - result.lambda_max) / result.error)
        by_gap.append((1.0 - result.lambda_max) / (result.residual**2 / (top - below)))
    assert 0.7 < median(by_steps) < 1.4, by_steps
    assert median(by_gap) < 0.6, by_gap


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "top", [[1.0], [1.0, 0.5], [1.0, 0.99], [1.0, 0.999, 0.99, 0.95, 0.9], [1.0, 0.99999], [-3.0, 0.2]]
)
def test_converged_values_are_within_the_tolerance(top: list[float], seed: int) -> None:
    matrix = matrix_above_bulk(top)
    exact = float(torch.linalg.eigvalsh(matrix)[-1])
    for products in (3, 6, 10, 20, 40):
        result = lanczos(MatrixOperator(matrix), products, tolerance=1e-3, generator=seeded(seed))
        if result.converged:
            assert abs(result.lambda_max - exact) <= 1e-3 * exact
    assert result.converged or len(top) > 1


def test_false_convergence_is_as_rare_as_documented() -> None:
    """0.6% of the starts are nearly orthogonal to the top eigenvector and stagnate at the next one, 1% below."""
    matrix = matrix_above_bulk([1.0, 0.99])
    eigenvalues = torch.linalg.eigvalsh(matrix)
    wrong = 0
    for seed in range(300):
        result = lanczos(MatrixOperator(matrix), 40, tolerance=1e-3, generator=seeded(seed))
        assert result.converged
        # The value is always within the tolerance of some eigenvalue.
        assert float((eigenvalues - result.lambda_max).abs().min()) <= 1e-3
        wrong += abs(result.lambda_max - 1.0) > 1e-3
    assert wrong <= 6


def test_a_stagnating_value_has_not_converged() -> None:
    """From a start nearly orthogonal to the top eigenvector, the Ritz value stagnates at the second eigenvalue."""
    matrix = torch.diag(torch.cat([torch.tensor([1.05, 1.0]), torch.linspace(0.0, 0.9, 100)]).double())
    start = torch.full((102,), 1e-3, dtype=torch.float64)
    start[1] = 1.0
    result = lanczos(MatrixOperator(matrix), max_products=6, tolerance=1e-4, initial=start)
    assert abs(result.history[-1] - result.history[-2]) < 1e-4
    assert abs(result.lambda_max - 1.05) > 0.01
    assert not result.converged


@pytest.mark.parametrize(("residual", "converged"), [(0.04, False), (0.009, True)])
def test_a_residual_above_one_percent_after_a_coarse_stage_has_not_converged(residual: float, converged: bool) -> None:
    coupling = torch.tensor([[0.001, residual]], dtype=torch.float64)
    ritz = Ritz.of(torch.diag(torch.tensor([0.5, 1.0], dtype=torch.float64)), coupling, eps=1e-16, full=False)
    assert ritz.error < 0.5 * 0.01
    assert ritz.converged(0.01, after_coarse=True) is converged


@pytest.mark.parametrize("seed", range(5))
def test_upper_bounds_hold_with_the_largest_eigenvalue_of_the_complement(seed: int) -> None:
    """Two directions couple six basis vectors with the others. Without excess, the bounds are the eigenvalues."""
    matrix = symmetric(torch.linspace(-1.0, 2.0, 30, dtype=torch.float64) ** 3, seed)
    projected, inner = matrix[:6, :6], matrix[6:, 6:]
    left, singular, _ = torch.linalg.svd(matrix[:6, 6:])
    coupling = singular[:, None] * left.T
    largest = float(torch.linalg.eigvalsh(inner)[-1])
    eigenvalues = torch.linalg.eigvalsh(matrix).flip(0)[:6]
    ritz = Ritz.of(projected, coupling, eps=1e-16, full=False)
    bounds = torch.tensor(ritz.upper_bounds(largest), dtype=torch.float64)
    assert bool((bounds >= eigenvalues - 1e-12).all())
    assert bool((torch.tensor(ritz.upper_bounds(largest + 1.0)).double() >= bounds).all())
    top = ritz.top_errors(3, largest)
    assert top == pytest.approx((bounds - torch.tensor(ritz.values).double().flip(0))[:3].tolist())
    part = ritz.part([0, 1])
    spanned = torch.cat([ritz.vectors[:, :2], torch.zeros(24, 2).double()])
    beside = torch.cat([spanned, torch.cat([torch.zeros(6, 24), torch.eye(24)]).double()], dim=1)
    assert part.upper_bounds(largest)[0] >= float(torch.linalg.eigvalsh(beside.T @ matrix @ beside)[-1]) - 1e-12

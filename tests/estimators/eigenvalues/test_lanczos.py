"""Lanczos against dense eigenvalues, and its convergence criterion."""

import math

import pytest
import torch
from torch import Tensor

from estimators import LanczosResult, lanczos
from tests.estimators.cases import CASES, Case, MatrixOperator, operator, seeded, symmetric
from tests.estimators.dense import dense_hessian_of
from tests.estimators.eigenvalues.matrices import matrix_above_bulk


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_extreme_eigenvalues_are_exact_after_one_product_per_dimension(case: Case) -> None:
    op = operator(case)
    eigenvalues = torch.linalg.eigvalsh(dense_hessian_of(case))
    result = lanczos(op, max_products=op.size, tolerance=0.0, generator=seeded(0))
    scale = float(eigenvalues.abs().max())
    assert result.lambda_max == pytest.approx(float(eigenvalues[-1]), rel=1e-10, abs=1e-12 * scale)
    assert result.lambda_min == pytest.approx(float(eigenvalues[0]), rel=1e-10, abs=1e-12 * scale)
    assert result.converged
    assert result.products == op.products <= op.size


def test_lambda_max_is_the_algebraically_largest_eigenvalue() -> None:
    result = lanczos(MatrixOperator(matrix_above_bulk([-5.0, -4.0, 1.0])), max_products=30, generator=seeded(0))
    assert result.lambda_max == pytest.approx(1.0, rel=1e-3) and result.converged
    assert result.lambda_min == pytest.approx(-5.0, rel=1e-3)


@pytest.mark.parametrize("products", [1, 2, 5, 12])
def test_basis_tridiagonal_vector_and_residuals_match_their_definitions(products: int) -> None:
    matrix = matrix_above_bulk([3.0, 2.5, -2.0])
    result = lanczos(MatrixOperator(matrix), products, tolerance=0.0, generator=seeded(0))
    basis, vector = result.basis, result.vector
    assert basis.shape == (203, products) and result.products == len(result.history) == products
    torch.testing.assert_close(basis.T @ basis, torch.eye(products, dtype=torch.float64), rtol=0, atol=1e-13)
    torch.testing.assert_close(basis.T @ matrix @ basis, result.tridiagonal, rtol=0, atol=1e-13)
    assert float(vector.norm()) == pytest.approx(1.0)
    assert float(vector @ matrix @ vector) == pytest.approx(result.lambda_max)
    assert float((matrix @ vector - result.lambda_max * vector).norm()) == pytest.approx(result.residual, rel=1e-6)
    ritz_values, ritz_vectors = torch.linalg.eigh(result.tridiagonal)
    lowest = basis @ ritz_vectors[:, 0]
    assert result.lambda_min == pytest.approx(float(ritz_values[0]))
    assert float((matrix @ lowest - result.lambda_min * lowest).norm()) == pytest.approx(result.lambda_min_residual)


def test_the_history_has_the_largest_ritz_value_of_each_step() -> None:
    op = MatrixOperator(matrix_above_bulk([3.0, 2.5]))
    result = lanczos(op, 6, tolerance=0.0, generator=seeded(0))
    shorter = [lanczos(op, count, tolerance=0.0, generator=seeded(0)).lambda_max for count in range(1, 7)]
    assert result.history == pytest.approx(shorter, rel=1e-12)
    assert list(result.history) == sorted(result.history)


def test_it_stops_when_converged() -> None:
    result = lanczos(MatrixOperator(matrix_above_bulk([1.0])), max_products=50, tolerance=1e-3, generator=seeded(0))
    assert result.converged and result.products < 12
    assert not lanczos(MatrixOperator(matrix_above_bulk([1.0])), 50, tolerance=0.0, generator=seeded(0)).products < 50


def test_it_stops_at_an_invariant_subspace() -> None:
    matrix = symmetric([2.0, 2.0, 2.0, -1.0, -1.0, 0.5])
    result = lanczos(MatrixOperator(matrix), max_products=6, tolerance=0.0, generator=seeded(0))
    assert (result.products, result.converged) == (3, True)
    assert (result.lambda_max, result.lambda_min) == pytest.approx((2.0, -1.0))
    assert result.residual < 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_start_at_another_eigenvector_finds_the_top_eigenvector(seed: int) -> None:
    eigenvalues = torch.cat([torch.tensor([1.05, 1.0]), torch.linspace(-0.1, 0.9, 200)]).double()
    start = torch.zeros(202, dtype=torch.float64)
    start[1] = 7.0
    for products in (3, 6, 10, 20, 40):
        op = MatrixOperator(torch.diag(eigenvalues))
        result = lanczos(op, products, initial=start, generator=seeded(seed))
        if result.converged:
            assert result.lambda_max == pytest.approx(1.05, rel=1e-3)
    assert result.converged


def test_a_small_matrix_is_solved_exactly_from_any_start() -> None:
    matrix = torch.diag(torch.tensor([5.0, 1.0, 2.0], dtype=torch.float64))
    start = torch.tensor([0.0, 0.0, 7.0], dtype=torch.float64)
    result = lanczos(MatrixOperator(matrix), initial=start, generator=seeded(0))
    assert result.lambda_max == pytest.approx(5.0) and result.products == 3


def test_the_generator_determines_the_random_part_of_a_start() -> None:
    op, start = MatrixOperator(matrix_above_bulk([3.0])), torch.randn(201, dtype=torch.float64, generator=seeded(4))
    state = torch.get_rng_state()
    first, again, other = (lanczos(op, 4, initial=start, generator=seeded(seed)).history for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_it_uses_at_most_one_product_per_dimension(size: int) -> None:
    matrix = symmetric(torch.arange(1.0, size + 1))
    result = lanczos(MatrixOperator(matrix), max_products=50, tolerance=0.0, generator=seeded(0))
    assert result.lambda_max == pytest.approx(float(size)) and result.lambda_min == pytest.approx(1.0)
    assert result.products == size and result.converged


def test_a_zero_hessian_has_eigenvalue_zero() -> None:
    result = lanczos(MatrixOperator(torch.zeros(5, 5)), generator=seeded(0))
    assert (result.lambda_max, result.lambda_min, result.residual, result.error) == (0.0, 0.0, 0.0, 0.0)
    assert result.products == 1 and result.converged and not result.vector.isnan().any()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_never_converges(value: float) -> None:
    matrix = torch.eye(5)
    matrix[2, 3] = matrix[3, 2] = value
    result: LanczosResult = lanczos(MatrixOperator(matrix), generator=seeded(0))
    assert not result.converged and math.isnan(result.lambda_max) and math.isnan(result.residual)
    assert math.isnan(result.error)
    assert result.products == 1


def test_float32_converges_to_float32_precision() -> None:
    matrix = matrix_above_bulk([3.0, 2.0, -4.0])
    result = lanczos(MatrixOperator(matrix.float()), max_products=40, tolerance=1e-5, generator=seeded(0))
    assert result.lambda_max == pytest.approx(3.0, rel=1e-5) and result.converged
    identity = torch.eye(40, dtype=torch.float64)[: result.basis.shape[1], : result.basis.shape[1]]
    torch.testing.assert_close((result.basis.T @ result.basis).double(), identity, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-12), (torch.float32, 1e-6), (torch.float64, 1e-15)]
)
@pytest.mark.parametrize("products", [8, 201])
def test_a_tolerance_below_rounding_never_converges(dtype: torch.dtype, tolerance: float, products: int) -> None:
    """Not even if the subspace is invariant: the matrix has four different eigenvalues."""
    matrix = symmetric([3.0, 2.0, -4.0] + [1.0] * 5)
    op = MatrixOperator(matrix.to(dtype))
    result = lanczos(op, products, tolerance, generator=seeded(0))
    assert not result.converged
    assert lanczos(op, products, 100 * torch.finfo(dtype).eps, generator=seeded(0)).converged
    true_error = abs(result.lambda_max - 3.0)
    assert true_error <= result.error <= 100 * torch.finfo(dtype).eps
    vector = result.vector.double()
    assert float((matrix @ vector - result.lambda_max * vector).norm()) <= result.residual
    assert min(result.residual, result.lambda_min_residual) >= 39.0 * torch.finfo(dtype).eps


def test_result_does_not_depend_on_the_length_of_the_start() -> None:
    op = MatrixOperator(matrix_above_bulk([3.0]))
    start = torch.randn(201, dtype=torch.float64, generator=seeded(4))
    found = lanczos(op, 4, initial=100 * start, generator=seeded(5)).history
    assert found == pytest.approx(lanczos(op, 4, initial=start, generator=seeded(5)).history, rel=1e-9)
    # A random part of relative length 1/100 changes the first Rayleigh quotient by the square of that.
    assert found[0] == pytest.approx(lanczos(op, 4, generator=seeded(4)).history[0], abs=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_products": 0}, "max_products is 0, expected at least 1"),
        ({"tolerance": -0.1}, "tolerance is -0.1, expected at least 0.0"),
        ({"tolerance": math.nan}, "tolerance is nan, expected at least 0.0"),
        ({"initial": torch.ones(4)}, r"initial has shape \(4,\), expected \(3,\)"),
        ({"initial": torch.zeros(3)}, "initial has length 0.0, expected a finite one above zero"),
        ({"initial": torch.tensor([1.0, math.nan, 0.0])}, "initial has length nan"),
    ],
)
def test_bad_arguments_are_rejected(options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        lanczos(MatrixOperator(torch.eye(3)), **options)


def test_the_repr_is_short() -> None:
    assert len(repr(lanczos(MatrixOperator(torch.eye(500)), generator=seeded(0)))) < 250


class LongDiagonal:
    """A diagonal float32 matrix of 200,000 rows with eigenvalues of very different sizes."""

    size, dtype, device, products = 200_000, torch.float32, torch.device("cpu"), 0.0

    def __init__(self) -> None:
        self.diagonal = torch.exp(2 * torch.randn(self.size, generator=torch.Generator().manual_seed(0)))

    def matvec(self, vector: Tensor) -> Tensor:
        return self.diagonal * vector

    __matmul__ = matvec


def test_long_vectors_are_normalised_to_the_rounding_of_float32() -> None:
    op = LongDiagonal()
    found = lanczos(op, 12, 0.0, generator=torch.Generator().manual_seed(1))
    gram = found.basis.T.double() @ found.basis.double()
    # 3.1e-6 on one processor, 2e-5 with sums in float32.
    assert float((gram - torch.eye(12)).abs().max()) < 5e-6
    exact = found.basis.double().T @ (op.diagonal.double()[:, None] * found.basis.double())
    assert float(torch.linalg.eigvalsh(exact)[-1]) == pytest.approx(found.lambda_max, rel=3e-6)

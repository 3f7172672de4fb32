"""The largest eigenvalues against dense matrices: separated, multiple, clustered, and of networks."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from estimators import HessianOperator, TopEigenvalues, lanczos, top_eigenvalues
from tests.estimators.cases import CASES, Case, MatrixOperator, images, operator, seeded, symmetric
from tests.estimators.dense import dense_hessian_of
from tests.estimators.eigenvalues.matrices import matrix_above_bulk


def eigenvalues(matrix: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(matrix.double()).flip(0)


def check(result: TopEigenvalues, matrix: Tensor, tolerance: float) -> None:
    """Values, vectors, residuals, error bounds and `converged` agree with the dense matrix."""
    exact, matrix = eigenvalues(matrix)[: len(result.values)], matrix.double()
    rounding = 20 * torch.finfo(result.vectors.dtype).eps * float(torch.linalg.eigvalsh(matrix).abs().max())
    vectors = result.vectors.double()
    close = {"rtol": 0.0, "atol": max(1e-12, rounding)}
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(exact)).double(), **close)
    residuals = (matrix @ vectors - vectors * result.values).norm(dim=0)
    assert bool((residuals <= result.residuals + rounding).all())
    assert bool((result.values <= exact + rounding).all())
    assert bool((exact - result.values <= result.errors + rounding).all())
    wrong = (exact - result.values).abs() > tolerance * result.values.abs() + rounding
    assert not bool((wrong & result.converged).any())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_eigenvalues_of_small_networks_are_exact(case: Case) -> None:
    op, dense = operator(case), dense_hessian_of(case)
    result = top_eigenvalues(op, op.size, max_products=2 * op.size, generator=seeded(0))
    check(result, dense, 1e-3)
    scale = float(dense.abs().max())
    torch.testing.assert_close(result.values, eigenvalues(dense), rtol=1e-9, atol=1e-11 * scale)
    assert bool(result.converged.all()) and result.products == op.products <= op.size


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "top",
    [
        [10.0, 8.0, 6.0, 5.0, 4.0],
        [10.0, 10.0, 6.0, 6.0, 4.0],
        [5.0] * 8,
        [10.0, 10.0 - 1e-6, 6.0, 6.0 - 1e-7, 4.0],
        [10.0, 9.9, 9.8, 9.7, 9.6, 9.5, 9.4],
    ],
    ids=["separate", "double", "eightfold", "nearly double", "cluster"],
)
def test_multiple_and_clustered_eigenvalues_are_found(top: list[float], seed: int) -> None:
    matrix = matrix_above_bulk(top)
    op = MatrixOperator(matrix)
    result = top_eigenvalues(op, 5, max_products=120, generator=seeded(seed))
    check(result, matrix, 1e-3)
    assert bool(result.converged.all()) and result.products == op.products


@pytest.mark.parametrize("matrix", [torch.eye(30), torch.zeros(30, 30)], ids=["identity", "zero"])
def test_matrices_with_a_single_eigenvalue(matrix: Tensor) -> None:
    result = top_eigenvalues(MatrixOperator(matrix.double()), 5, generator=seeded(0))
    check(result, matrix, 1e-3)
    assert bool(result.converged.all()) and result.products <= 6


def test_an_eigenvector_orthogonal_to_the_start_is_found() -> None:
    """The given start is the second eigenvector; its random part is removed as well."""
    matrix = torch.diag(torch.cat([torch.tensor([3.0, 2.0]), torch.linspace(0.0, 1.0, 60)]).double())
    start = torch.zeros(62, dtype=torch.float64)
    start[1] = 1.0
    result = top_eigenvalues(MatrixOperator(matrix), 2, initial=start, generator=seeded(0))
    check(result, matrix, 1e-3)
    assert bool(result.converged.all())


@pytest.mark.parametrize("seed", range(12))
def test_error_bounds_hold_on_random_spectra(seed: int) -> None:
    """Also if the products do not suffice, and after several restarts."""
    decay = 0.2 + 0.1 * (seed % 10)
    matrix = symmetric(torch.arange(1, 301, dtype=torch.float64) ** -decay * (-1.0) ** torch.arange(300), seed)
    products = 15 + 25 * (seed % 4)
    check(top_eigenvalues(MatrixOperator(matrix), 4, 1e-2, products, seeded(seed)), matrix, 1e-2)


def test_restarts_bound_the_memory_and_lose_nothing() -> None:
    matrix = symmetric(torch.cat([torch.tensor([1.1, 1.08]), torch.linspace(0.0, 1.0, 200)]).double())
    op = MatrixOperator(matrix)
    result = top_eigenvalues(op, 2, 1e-3, 400, seeded(0))
    check(result, matrix, 1e-3)
    assert bool(result.converged.all()) and op.products > 2 * 2 + 30


def test_unfinished_pairs_have_not_converged() -> None:
    """300 evenly spaced eigenvalues cannot be resolved with 40 products."""
    matrix = symmetric(torch.linspace(0.0, 1.0, 300, dtype=torch.float64))
    result = top_eigenvalues(MatrixOperator(matrix), 5, 1e-3, 40, seeded(0))
    check(result, matrix, 1e-3)
    assert not bool(result.converged.any()) and result.products == 40.0


def test_continues_the_space_of_lanczos() -> None:
    """The products of Lanczos are paid once."""
    matrix = matrix_above_bulk([10.0, 8.0, 6.0, 5.0, 4.0])
    op = MatrixOperator(matrix)
    alone = top_eigenvalues(op, 5, generator=seeded(0)).products
    first = lanczos(op, 8, generator=seeded(0))
    result = top_eigenvalues(op, 5, initial=first, generator=seeded(1))
    check(result, matrix, 1e-3)
    assert bool(result.converged.all()) and first.products + result.products <= alone + 1.0


def test_a_network_from_a_coarse_start() -> None:
    inputs, targets = images(60)
    model = CASES[0].model()
    op = HessianOperator(model, CASES[0].loss_fn, (inputs, targets), chunk_size=7)
    everything = lanczos(op, op.size, tolerance=0.0, generator=seeded(0))
    result = top_eigenvalues(op, 3, generator=seeded(0), coarse_fraction=0.25)
    exact = torch.linalg.eigvalsh(everything.tridiagonal).flip(0)[:3]
    torch.testing.assert_close(result.values, exact, rtol=1e-3, atol=0)
    assert bool(result.converged.all())


@pytest.mark.parametrize("tolerance", [1e-3, 1e-12])
def test_float32_has_its_rounding_as_the_smallest_error(tolerance: float) -> None:
    matrix = matrix_above_bulk([10.0, 8.0, 6.0])
    result = top_eigenvalues(MatrixOperator(matrix.float()), 3, tolerance, generator=seeded(0))
    check(result, matrix, tolerance)
    assert bool(result.converged.all()) == (tolerance == 1e-3)
    assert bool((result.errors >= 99 * torch.finfo(torch.float32).eps).all())


def test_the_tolerance_zero_uses_every_product() -> None:
    result = top_eigenvalues(MatrixOperator(matrix_above_bulk([3.0, 2.0])), 2, 0.0, 30, seeded(0))
    assert result.products == 30.0 and not bool(result.converged.any())
    assert bool((result.errors < 1e-9).all())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nonfinite_products_give_nan(value: float) -> None:
    result = top_eigenvalues(MatrixOperator(torch.full((20, 20), value)), 3, generator=seeded(0))
    assert result.products == 1.0 and not bool(result.converged.any())
    for numbers in (result.values, result.residuals, result.errors, result.vectors):
        assert bool(numbers.isnan().all())
    assert result.vectors.shape == (20, 3)


def test_the_generator_determines_the_result() -> None:
    op = MatrixOperator(matrix_above_bulk([3.0, 2.0]))
    first, again, other = (top_eigenvalues(op, 2, 0.1, generator=seeded(seed)).values.tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0, expected 1 to 12, the size of the operator"),
        ({"k": 13}, "k is 13, expected 1 to 12"),
        ({"tolerance": -1.0}, "tolerance is -1.0, expected at least 0.0"),
        ({"tolerance": math.nan}, "tolerance is nan, expected at least 0.0"),
        ({"max_products": 4}, "max_products is 4, expected at least 5, one for each eigenvalue"),
        ({"initial": torch.ones(4)}, r"initial has shape \(4,\), expected \(12,\)"),
        ({"coarse_fraction": 0.1}, r"MatrixOperator has no in_chunks\(fraction\)"),
    ],
)
def test_bad_arguments_are_rejected(options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        top_eigenvalues(MatrixOperator(torch.eye(12)), **options)


def test_a_lanczos_result_of_another_operator_is_rejected() -> None:
    matrix = matrix_above_bulk([3.0, 2.0, 1.5])
    first = lanczos(MatrixOperator(matrix), 3, generator=seeded(0))
    with pytest.raises(ValueError, match="pass the lanczos result of this operator"):
        top_eigenvalues(MatrixOperator(1.1 * matrix), initial=first, generator=seeded(0))
    with pytest.raises(ValueError, match="initial has size, dtype and device 203, .* expected 203, torch.float32, cpu"):
        top_eigenvalues(MatrixOperator(matrix.float()), initial=first)
    nan = replace(first, tridiagonal=math.nan * first.tridiagonal)
    assert bool(top_eigenvalues(MatrixOperator(matrix), initial=nan).values.isnan().all())


def test_the_repr_is_short() -> None:
    text = repr(top_eigenvalues(MatrixOperator(torch.eye(500)), generator=seeded(0)))
    assert len(text) < 500 and "values=" in text

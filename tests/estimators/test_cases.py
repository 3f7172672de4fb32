"""Every public function against the dense matrices of plain torch, on one list of models, losses and data."""

from functools import cache

import pytest
import torch
from torch import Tensor

from estimators import (
    GaussNewtonOperator,
    HessianOperator,
    SymmetricOperator,
    dense_hessian,
    exact_trace,
    hessian_trace,
    hutchinson,
    lanczos,
)
from estimators.operators.random_vectors import Distribution, random_vector
from tests.estimators.case_list import CASE_LIST
from tests.estimators.cases import Case, columns, operator, seeded
from tests.estimators.reference import reference

# The checks of a loss fall back to single samples if vmap has no rule for it.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

all_cases = pytest.mark.parametrize("case", CASE_LIST, ids=lambda case: case.name)


@cache
def operator_of(case: Case) -> HessianOperator:
    """The operator of a case, shared by the tests."""
    return operator(case)


def test_names_are_unique() -> None:
    assert len({case.name for case in CASE_LIST}) == len(CASE_LIST) == 48


@all_cases
def test_dense_hessian_and_products(case: Case) -> None:
    expected = reference(case).hessian
    assert_close(dense_hessian(case.model(), case.loss_fn, case.batches()), expected)
    op = operator_of(case)
    vectors = columns(op, 2)
    assert_close(op.matvec(vectors[:, 0]), expected @ vectors[:, 0], expected)
    assert_close(op @ vectors, expected @ vectors, expected)


@all_cases
def test_gauss_newton_products(case: Case) -> None:
    expected = reference(case).gauss_newton
    op = GaussNewtonOperator(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    vectors = columns(op, 2)
    assert_close(op.matvec(vectors[:, 0]), expected @ vectors[:, 0], expected)
    assert_close(op @ vectors, expected @ vectors, expected)


@all_cases
def test_gauss_newton_traces(case: Case) -> None:
    dense = reference(case)
    found = exact_trace(case.model(), case.loss_fn, case.batches(), case.chunk_size)
    assert_near(found.value, dense.gauss_newton.trace(), dense.gauss_newton)
    assert_near(sum(found.per_parameter.values()), dense.gauss_newton.trace(), dense.gauss_newton)
    if found.exact:
        assert_near(found.value, dense.hessian.trace(), dense.hessian)
        torch.testing.assert_close(dense.hessian.diagonal(), dense.gauss_newton.diagonal(), rtol=1e-9, atol=1e-11)


@all_cases
def test_hessian_trace(case: Case) -> None:
    dense, op = reference(case), operator_of(case)
    difference = dense.hessian - dense.gauss_newton
    found = hessian_trace(op, 3, generator=seeded(5))
    scale = dense.hessian.abs() + dense.gauss_newton.abs()
    if found.exact:
        assert_near(found.value, dense.hessian.trace(), scale)
        return
    samples = forms(difference, op, "rademacher", 3)
    assert_near(found.value, dense.gauss_newton.trace() + sum(samples) / len(samples), scale)
    for sample, expected in zip(found.samples, samples, strict=True):
        assert_near(sample, expected, scale)


@all_cases
def test_hutchinson(case: Case) -> None:
    dense, op = reference(case).hessian, operator_of(case)
    for sample, expected in zip(
        hutchinson(op, 3, generator=seeded(5)).samples, forms(dense, op, "gaussian", 3), strict=True
    ):
        assert_near(sample, expected, dense)


@all_cases
def test_lanczos(case: Case) -> None:
    dense, op = reference(case).hessian, operator_of(case)
    found, eigenvalues = lanczos(op, op.size, tolerance=1e-12, generator=seeded(6)), torch.linalg.eigvalsh(dense)
    assert found.converged
    assert_near(found.lambda_max, eigenvalues[-1], dense)
    assert_close(dense @ found.vector, found.lambda_max * found.vector, dense, tolerance=1e-5)


def forms(matrix: Tensor, op: SymmetricOperator, distribution: Distribution, count: int) -> list[float]:
    """z'Az for the probes that a generator with seed 5 draws."""
    generator = seeded(5)
    probes = [random_vector(op, generator, distribution) for _ in range(count)]
    return [float(probe @ matrix @ probe) for probe in probes]


def assert_close(found: Tensor, expected: Tensor, matrix: Tensor | None = None, tolerance: float = 1e-10) -> None:
    """Compares relative to the matrix, or to the expected values."""
    scale = float((expected if matrix is None else matrix).norm())
    assert float((found.detach() - expected).norm()) <= tolerance * scale + 1e-14


def assert_near(found: float, expected: Tensor | float, matrix: Tensor) -> None:
    """Compares numbers relative to the sum of the matrix's absolute values."""
    assert abs(found - float(expected)) <= 1e-10 * float(matrix.abs().sum()) + 1e-14

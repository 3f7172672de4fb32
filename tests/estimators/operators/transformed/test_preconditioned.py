"""Tests PreconditionedOperator against dense P^-1/2 H P^-1/2, and what it refuses."""

import pytest
import torch
from torch import Tensor

from estimators import PreconditionedOperator, hessian_trace, lanczos
from tests.estimators.cases import (
    CASES,
    Case,
    MatrixOperator,
    assert_relatively_close,
    columns,
    mse_operator,
    operator,
    random_vector,
    seeded,
    symmetric,
)
from tests.estimators.dense import dense_hessian_of


def preconditioner(size: int) -> Tensor:
    """Entries between 0.01 and 100."""
    return 10.0 ** (4.0 * torch.rand(size, dtype=torch.float64, generator=seeded(11)) - 2.0)


def dense(hessian: Tensor, diagonal: Tensor) -> Tensor:
    scale = diagonal.pow(-0.5)
    return scale[:, None] * hessian * scale


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_products_are_those_of_the_dense_matrix(case: Case) -> None:
    hessian = operator(case)
    diagonal = preconditioner(hessian.size)
    op = PreconditionedOperator(hessian, diagonal)
    expected = dense(dense_hessian_of(case), diagonal)
    vector, block = random_vector(op), columns(op, 3)
    assert_relatively_close(op @ vector, expected @ vector, 1e-10)
    assert_relatively_close(op @ block, expected @ block, 1e-10)
    assert torch.equal((op @ block)[:, 1], op @ block[:, 1].contiguous())
    assert op.products == hessian.products == 8.0


@pytest.mark.parametrize("coarse_fraction", [None, 0.4])
def test_lanczos_finds_the_largest_eigenvalue_of_the_inverse_times_the_hessian(coarse_fraction: float | None) -> None:
    hessian = mse_operator(chunk_size=3)
    diagonal = preconditioner(hessian.size)
    op = PreconditionedOperator(hessian, diagonal)
    found = lanczos(op, op.size, 1e-9, generator=seeded(0), coarse_fraction=coarse_fraction)
    whole = torch.stack([hessian @ unit for unit in torch.eye(op.size, dtype=torch.float64)])
    expected = float(torch.linalg.eigvals(whole / diagonal[:, None]).real.max())
    assert found.lambda_max == pytest.approx(expected, rel=1e-6)
    direction = op.to_parameters(found.vector)
    assert_relatively_close(whole @ direction, expected * diagonal * direction, 1e-4)


def test_an_identity_preconditioner_changes_nothing() -> None:
    hessian = mse_operator(chunk_size=3)
    op = PreconditionedOperator(hessian, torch.ones(hessian.size, dtype=torch.float64))
    expected, found = (lanczos(o, 8, generator=seeded(0), coarse_fraction=0.4) for o in (hessian, op))
    assert found.lambda_max == expected.lambda_max and torch.equal(found.vector, expected.vector)


def test_the_preconditioner_is_copied() -> None:
    hessian = mse_operator()
    diagonal = preconditioner(hessian.size)
    op = PreconditionedOperator(hessian, diagonal)
    before = op @ random_vector(op)
    diagonal.zero_()
    assert torch.equal(op @ random_vector(op), before)


@pytest.mark.parametrize(("entry", "shown"), [(0.0, "0.0"), (-1.0, "-1.0"), (torch.nan, "nan"), (torch.inf, "inf")])
def test_entries_that_are_not_positive_and_finite_are_refused(entry: float, shown: str) -> None:
    diagonal = torch.ones(4, dtype=torch.float64)
    diagonal[2] = entry
    with pytest.raises(ValueError, match=rf"preconditioner\[2\] is {shown}, expected positive finite .*: add"):
        PreconditionedOperator(MatrixOperator(symmetric([1.0, 2.0, 3.0, 4.0])), diagonal)


@pytest.mark.parametrize(
    "diagonal", [torch.ones(3, dtype=torch.float64), torch.ones(4), torch.ones(4, 1), torch.ones(4, device="meta")]
)
def test_other_shapes_dtypes_and_devices_are_refused(diagonal: Tensor) -> None:
    with pytest.raises(ValueError, match=r"preconditioner has shape, .* expected \(4,\), torch.float64, cpu: pass"):
        PreconditionedOperator(MatrixOperator(symmetric([1.0, 2.0, 3.0, 4.0])), diagonal)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="preconditioner is a float, expected a tensor"):
        PreconditionedOperator(MatrixOperator(symmetric([1.0])), 2.0)  # type: ignore[arg-type]


def test_a_trace_of_hessians_only_is_refused() -> None:
    hessian = mse_operator()
    op = PreconditionedOperator(hessian, preconditioner(hessian.size))
    with pytest.raises(ValueError, match="op is a PreconditionedOperator, expected a HessianOperator"):
        hessian_trace(op)  # type: ignore[arg-type]

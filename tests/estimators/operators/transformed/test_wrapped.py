"""Wrapped operators share graphs, counts and chunks with the operator they wrap."""

import pytest
import torch

from estimators import PreconditionedOperator, ShiftedOperator, hutchinson, lanczos
from tests.estimators.cases import MatrixOperator, assert_relatively_close, counting_operator, seeded, symmetric


def test_graphs_are_kept_by_the_wrapped_operator() -> None:
    model, hessian = counting_operator(memory_budget=2**30)
    op = PreconditionedOperator(ShiftedOperator(hessian, 1.0), torch.ones(hessian.size, dtype=torch.float64))
    lanczos(op, 5, tolerance=0.0, coarse_fraction=None)
    assert model.forwards == 4 and op.products == hessian.products == 5.0


def test_a_wrapped_matrix_without_blocks_is_multiplied_column_by_column() -> None:
    matrix = symmetric([1.0, 2.0, 5.0])
    op = ShiftedOperator(MatrixOperator(matrix), 2.0)
    block = torch.eye(3, dtype=torch.float64)
    assert_relatively_close(op @ block, matrix + 2.0 * block, 1e-14)
    trace = hutchinson(op, 50, generator=seeded(0))
    assert abs(trace.value - 14.0) <= 4.0 * trace.standard_error


def test_a_coarse_start_of_a_matrix_without_samples_is_refused() -> None:
    op = ShiftedOperator(MatrixOperator(symmetric([1.0, 2.0])), 2.0)
    with pytest.raises(ValueError, match="MatrixOperator without chunks .*, or pass coarse_fraction=None"):
        lanczos(op, coarse_fraction=0.5)


def test_vectors_of_the_wrong_shape_are_refused() -> None:
    op = ShiftedOperator(MatrixOperator(symmetric([1.0, 2.0])), 2.0)
    with pytest.raises(ValueError, match=r"expected \(2,\), torch.float64, cpu"):
        op.matvec(torch.ones(3, dtype=torch.float64))

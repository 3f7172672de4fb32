"""Algorithms accept operators with and without the optional methods."""

import torch

from estimators.operators.protocols import SampledOperator, block_product, keeping_graphs
from tests.estimators.cases import MatrixOperator, columns, counting_operator, mse_operator, random_vector, symmetric


def test_a_block_product_without_matmat_goes_column_by_column() -> None:
    op = MatrixOperator(symmetric([3.0, 1.0, -1.0]))
    block = columns(op, 2)
    torch.testing.assert_close(block_product(op, block), op.matrix @ block)
    assert op.products == 2.0


def test_graphs_are_kept_if_the_operator_supports_it() -> None:
    model, op = counting_operator(memory_budget=2**40)
    with keeping_graphs(op):
        for _ in range(2):
            op @ random_vector(op)
    assert model.forwards == 4
    with keeping_graphs(MatrixOperator(symmetric([1.0]))):
        pass


def test_only_curvature_operators_implement_sampled_operator() -> None:
    assert isinstance(mse_operator(), SampledOperator)
    assert not isinstance(MatrixOperator(symmetric([1.0])), SampledOperator)

"""Naive double backward is compared with dense matrices."""

import torch
from torch import nn

from benchmarks.curvature.naive import ProductOperator, gauss_newton_product, hessian_product
from benchmarks.curvature.problems import PeerProblem, TokenCrossEntropy
from estimators import GaussNewtonOperator, dense_hessian


def problem() -> PeerProblem:
    """A small network over sequences of three tokens."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 4), nn.GELU(), nn.Linear(4, 5)).eval()
    tokens = torch.randint(5, (2, 7, 3))
    return PeerProblem(model, tokens[0], tokens[1], TokenCrossEntropy())


def test_hessian_product_equals_the_dense_matrix_with_a_smaller_last_chunk() -> None:
    small = problem()
    vector = torch.randn(small.size)
    dense = dense_hessian(small.model, small.loss, (small.inputs, small.targets)).to(torch.float32)
    for chunk in (3, 7):
        assert torch.allclose(hessian_product(small, chunk)(vector), dense @ vector, rtol=1e-4, atol=1e-6)


def test_gauss_newton_product_equals_that_of_the_operator() -> None:
    small = problem()
    vector = torch.randn(small.size)
    expected = GaussNewtonOperator(small.model, small.loss, (small.inputs, small.targets)) @ vector
    assert torch.allclose(gauss_newton_product(small, 3)(vector), expected, rtol=1e-4, atol=1e-6)


def test_operator_counts_its_products() -> None:
    small = problem()
    operator = ProductOperator(small, hessian_product(small, 7))
    assert operator.matmat(torch.randn(small.size, 2)).shape == (small.size, 2)
    assert operator.products == 2.0

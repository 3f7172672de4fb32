"""The graph of one chunk adds products and gradients that equal closed forms."""

import pytest
import torch
from torch import Tensor

from estimators.operators.graphs.chunk_graph import GradientGraph

X = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)


def graph(constant: bool = False) -> tuple[GradientGraph, Tensor]:
    """The graph of (x . w)^2 / 2 + b, with the gradients (x . w) x and 1. The unused parameter has none."""
    w = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([4.0], dtype=torch.float64, requires_grad=True)
    unused = torch.ones(2, dtype=torch.float64, requires_grad=True)
    loss = torch.tensor(1.0) if constant else (X @ w) ** 2 / 2 + b.sum()
    return GradientGraph.of(loss, [w, b, unused], samples=3), w


def zeros() -> list[Tensor]:
    return [torch.zeros(size, dtype=torch.float64) for size in (3, 1, 2)]


def test_weighted_products_are_added_to_the_result() -> None:
    found, _ = graph()
    vector = [torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64), *zeros()[1:]]
    result = [torch.ones(3, dtype=torch.float64), *zeros()[1:]]
    found.add_product(vector, result, weight=0.25, keep=True)
    torch.testing.assert_close(result[0], 1 + 0.25 * X * (X @ vector[0]))
    assert [float(entry.abs().sum()) for entry in result[1:]] == [0.0, 0.0]


def test_weighted_gradients_are_added_to_the_result() -> None:
    found, w = graph()
    result = zeros()
    found.add_gradient(result, weight=0.5, keep=False)
    torch.testing.assert_close(result[0], 0.5 * (X @ w.detach()) * X)
    assert [float(entry.sum()) for entry in result[1:]] == [0.5, 0.0]


def test_a_kept_graph_gives_identical_products_and_a_freed_one_none() -> None:
    found, _ = graph()
    vector, first, second = [torch.ones_like(entry) for entry in zeros()], zeros(), zeros()
    found.add_product(vector, first, weight=1.0, keep=True)
    found.add_product(vector, second, weight=1.0, keep=False)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        found.add_product(vector, second, weight=1.0, keep=False)


def test_a_loss_without_a_graph_has_a_zero_gradient_and_zero_products() -> None:
    found, _ = graph(constant=True)
    result = zeros()
    found.add_gradient(result, weight=1.0, keep=False)
    found.add_product([torch.ones_like(entry) for entry in result], result, weight=1.0, keep=False)
    assert all(not entry.any() for entry in result)
    assert found.held == []


def test_only_gradients_of_used_parameters_are_held() -> None:
    found, _ = graph()
    assert [len(tensor) for tensor in found.held] == [3, 1]

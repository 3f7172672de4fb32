"""The record of the tensors that autograd saves."""

import torch

from estimators.problem.saved_tensors import recording_saved


def test_saved_tensors_are_recorded_while_their_graph_exists() -> None:
    weight = torch.ones(3, requires_grad=True)
    with recording_saved() as saved:
        result = torch.tanh(weight)
        product = result * weight
    later = torch.exp(product)
    assert sorted(tensor.shape for tensor in saved) == [torch.Size([3])] * 3
    torch.testing.assert_close(torch.autograd.grad(later.sum(), weight), torch.autograd.grad(plain(weight), weight))
    del result, product, later
    assert list(saved) == []


def plain(weight: torch.Tensor) -> torch.Tensor:
    return torch.exp(torch.tanh(weight) * weight).sum()


def test_recorded_graphs_can_be_differentiated_twice() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    with recording_saved():
        (gradient,) = torch.autograd.grad(torch.tanh(weight), weight, create_graph=True)
    (second,) = torch.autograd.grad(gradient, weight)
    value = torch.tanh(weight.detach())
    torch.testing.assert_close(second, -2 * value * (1 - value**2))

"""SAM's gradient equals the formula of Foret et al. (2021) in float64."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

from orchestrator.training.optimizers.sam import sam_backward

RHO = 0.3


def parts(*layers: nn.Module) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), *layers, nn.Linear(5, 3)).double()
    return model, torch.randn(7, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 0])


def gradients(model: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in found)
    return found  # type: ignore[return-value]


def test_the_gradient_is_that_at_the_end_of_the_ascent() -> None:
    model, inputs, targets = parts(nn.Tanh())
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    losses: list[float] = []

    def backward() -> None:
        loss = cross_entropy(model(inputs), targets)
        losses.append(loss.item())
        loss.backward()

    sam_backward(model, RHO, backward)
    ours = gradients(model)
    assert all(map(torch.equal, weights, model.parameters()))  # bitwise
    assert losses[1] > losses[0]

    loss = cross_entropy(model(inputs), targets)
    ascent = torch.autograd.grad(loss, [*model.parameters()])
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in ascent))
    moved = [weight + RHO * gradient / norm for weight, gradient in zip(weights, ascent, strict=True)]
    names = [name for name, _ in model.named_parameters()]
    outputs = torch.func.functional_call(
        model, dict(zip(names, [m.requires_grad_() for m in moved], strict=True)), inputs
    )
    expected = torch.autograd.grad(cross_entropy(outputs, targets), moved)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_a_gradient_of_zero_means_no_ascent() -> None:
    model, inputs, _ = parts()

    def backward() -> None:
        (model(inputs).sum() * 0).backward()

    sam_backward(model, RHO, backward)
    assert all(not gradient.any() for gradient in gradients(model))


def test_parameters_without_a_gradient_are_left_out() -> None:
    model, inputs, targets = parts(nn.Tanh())
    unused = nn.Parameter(torch.ones(2, dtype=torch.float64))
    model.register_parameter("unused", unused)
    frozen = next(model.parameters()).requires_grad_(False)
    sam_backward(model, RHO, lambda: cross_entropy(model(inputs), targets).backward())
    assert (unused.grad, frozen.grad) == (None, None)


def test_batch_norm_statistics_are_those_of_the_first_pass() -> None:
    (model, inputs, targets), (plain, _, _) = parts(nn.BatchNorm1d(5)), parts(nn.BatchNorm1d(5))
    sam_backward(model, RHO, lambda: cross_entropy(model(inputs), targets).backward())
    plain(inputs)
    for name, buffer in plain.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer)
    assert int(model[1].num_batches_tracked) == 1  # type: ignore[index, union-attr]


def test_both_passes_draw_the_same_dropout_masks() -> None:
    model, inputs, targets = parts()
    masks: list[Tensor] = []

    def backward() -> None:
        masks.append(dropout(torch.ones(1000)))
        cross_entropy(model(inputs), targets).backward()

    torch.manual_seed(3)
    sam_backward(model, RHO, backward)
    assert torch.equal(masks[0], masks[1])
    following = dropout(torch.ones(1000))
    assert not torch.equal(following, masks[0])  # the next step draws another mask


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_length_of_the_ascent_is_rho_for_gradients_of_any_size(scale: float) -> None:
    weight = nn.Linear(3, 1, bias=False)
    start, visited = weight.weight.detach().clone(), []

    def backward() -> None:
        visited.append(weight.weight.detach().clone())
        (weight.weight.sum() * scale).backward()

    sam_backward(weight, RHO, backward)
    assert torch.linalg.vector_norm(visited[1] - start).item() == pytest.approx(RHO, rel=1e-5)

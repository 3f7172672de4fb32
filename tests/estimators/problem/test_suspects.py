"""Likely causes of wrong derivatives are named."""

from typing import Any

import torch
from torch import Tensor, nn

from estimators.problem.suspects import suspects


class Doubled(torch.autograd.Function):
    """Multiplies by two."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return 2 * inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


class WithFunction(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = Doubled.apply(super().forward(inputs))
        return result


def loss(model: nn.Module) -> Tensor:
    result: Tensor = model(torch.ones(2, 3)).square().sum()
    return result


def test_plain_layers_are_not_suspected() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.LayerNorm(3))
    assert suspects(model, loss(model)) == ""


def test_a_layer_with_a_backward_hook_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    model[1].register_full_backward_hook(lambda module, given, gradients: None)
    assert suspects(model, loss(model)) == " Likely cause: '1' has a backward hook: remove it while measuring."


def test_weight_norm_is_named_with_its_replacement() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    assert "compute g * v / v.norm(dim=..., keepdim=True) in forward" in suspects(model, loss(model))


def test_a_custom_function_is_named() -> None:
    model = nn.Sequential(WithFunction(3, 3), nn.Tanh())
    assert "custom autograd.Function Doubled: compute its backward from saved inputs" in suspects(model, loss(model))


def test_all_causes_are_named() -> None:
    model = nn.Sequential(WithFunction(3, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    model[0].register_full_backward_pre_hook(lambda module, gradients: None)
    assert suspects(model, loss(model)).count("Likely cause: ") == 3


def test_a_loss_without_graph_has_no_suspects() -> None:
    assert suspects(nn.Linear(3, 3), torch.tensor(1.0)) == ""

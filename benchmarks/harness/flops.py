"""Floating-point operations counted by torch, a lower bound on the cost of a computation.

A multiply-add counts as two operations. Biases, ReLUs and pooling, less than 1% of the total, are not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

PRODUCT_REBUILT = 9
"""Cost of a Hessian-vector product in forward passes: forward 1, backward 2, double backward 6."""
PRODUCT_KEPT = 6
"""The same if the graph of the gradient is kept between products."""


@dataclass(frozen=True)
class Flops:
    """Operations per image: of a forward pass, and of a forward and backward pass."""

    forward: int
    training: int


def network_flops(model: nn.Module, shape: tuple[int, ...]) -> Flops:
    """Counts the operations of a network on one image."""
    images = torch.zeros(1, *shape, device=next(model.parameters()).device)

    def train() -> object:
        return torch.autograd.grad(model(images).sum(), list(model.parameters()))

    return Flops(counted(lambda: model(images)), counted(train))


def counted(task: Callable[[], object]) -> int:
    """Number of floating-point operations of a call."""
    with flop_counter() as counter:
        task()
    return int(counter.get_total_flops())


def flop_counter() -> FlopCounterMode:
    """Torch's counter, with the correct number for the weight gradient of a grouped convolution.

    Torch counts that as a convolution without groups: times the number of groups too many.
    """
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    return FlopCounterMode(display=False, custom_mapping=mapping)


def _convolution_backward(gradient: list[int], images: list[int], weight: list[int], *arguments: Any, **_: Any) -> int:
    """Each of the two gradients takes as many operations as the convolution."""
    transposed, wanted = arguments[4], arguments[7]
    return int(conv_flop_count(images, weight, gradient, transposed) * sum(wanted[:2]))

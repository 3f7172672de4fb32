"""Floating-point operations counted by torch: a lower bound on the cost of a computation.

A multiply-add counts as two. Biases, ReLUs and pooling, under 1%, are not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PRODUCT_REBUILT = 9
"""Forward passes that cost as much as a Hessian-vector product: 1 forward, 2 backward, 6 double backward."""
PRODUCT_KEPT = 6
"""Number of such forward passes if the graph of the gradient is kept between products."""


@dataclass(frozen=True)
class Flops:
    """Operations per image of a forward pass, and of a forward and backward pass together."""

    forward: int
    training: int


def network_flops(model: nn.Module, shape: tuple[int, int, int]) -> Flops:
    """Counts the operations of a network on one image."""
    images = torch.zeros(1, *shape, device=next(model.parameters()).device)

    def train() -> object:
        return torch.autograd.grad(model(images).sum(), list(model.parameters()))

    return Flops(counted(lambda: model(images)), counted(train))


def counted(task: Callable[[], object]) -> int:
    """Number of floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        task()
    return int(counter.get_total_flops())

"""Floating-point operations counted by torch, a lower bound on the cost of a computation.

A multiply-add counts as two operations. Biases, ReLUs and pooling, less than 1% of the total, are not counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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
    with FlopCounterMode(display=False) as counter:
        task()
    return int(counter.get_total_flops())

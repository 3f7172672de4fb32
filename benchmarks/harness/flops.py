"""Operations of a network, from the shapes of its layers: the least that a computation can cost."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

PRODUCT_REBUILT = 9
"""A Hessian-vector product by double backward, in forward passes: 1 forward, 2 backward, 6 backward through both."""
PRODUCT_KEPT = 6
"""The same where the graph of the gradient is kept between products."""


@dataclass(frozen=True)
class Flops:
    """Floating-point operations for one image, a multiplication and an addition counted as two; biases, ReLUs and
    pooling, which are under a hundredth, left out."""

    forward: int
    backward: int

    @property
    def training(self) -> int:
        """Of one image in training."""
        return self.forward + self.backward


def network_flops(model: nn.Module, shape: tuple[int, int, int]) -> Flops:
    """Of a network of convolutions and linear layers.

    Backward takes twice the forward's: once for the weights, once for the inputs; the first layer's inputs, the images,
    need no gradient.
    """
    layers: list[int] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append(_layer_flops(layer, output))

    weighted = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [module.register_forward_hook(note) for module in weighted]
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return Flops(forward=sum(layers), backward=2 * sum(layers) - layers[0])


def _layer_flops(layer: nn.Module, output: Tensor) -> int:
    """2 x outputs x inputs of each output; of a batch of one."""
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return 2 * output.numel() * (layer.in_channels // layer.groups) * height * width
    assert isinstance(layer, nn.Linear)
    return 2 * output.numel() * layer.in_features


def counted(task: Callable[[], object]) -> int:
    """Operations of a call as torch counts them: the check of the arithmetic above."""
    with FlopCounterMode(display=False) as counter:
        task()
    return int(counter.get_total_flops())

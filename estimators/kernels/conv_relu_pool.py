"""Convolution of the data, ReLU and max pool of a first layer as one operation.

In networks like the paper's, the output of the first convolution is the largest tensor, four times the output of the
pool, and each backward pass writes and reads it several times. No layer needs it except the ReLU and the pool.
So this operation computes it for a few samples at a time, which keeps it in the cache and takes a third of the time. As
long as the maxima keep their positions, the layer is linear in weight and bias. Results differ from autograd's only in
the order of a sum over samples.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from estimators.kernels.blocks import blocks
from estimators.kernels.convolutions import FirstConvolution, Geometry, convolution, parameter_gradients
from estimators.kernels.linear_map import transposed
from estimators.kernels.max_pool import Window, at_maxima, max_pool, max_unpool, relu_backward


def conv_relu_pool(layer: FirstConvolution, relu: Tensor, window: Window) -> Tensor:
    """Max pool of a convolution's ReLU as a function of weight and bias, differentiable to any order."""
    result: Tensor = _ConvReluPool.apply(layer.weight, layer.bias, layer.data, relu, layer.geometry, window)
    return result


class _ConvReluPool(torch.autograd.Function):
    """The forward pass pools ``relu``, which has already been computed."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor | None,
        data: Tensor,
        relu: Tensor,
        geometry: Geometry,
        window: Window,
    ) -> Tensor:
        pooled, indices = max_pool(relu, window)
        ctx.save_for_backward(data, indices, pooled, weight)
        ctx.linear = _PooledConvolution(geometry, window)
        return pooled

    @staticmethod
    def backward(ctx: Any, entries: Tensor) -> tuple[Tensor | None, ...]:
        data, indices, pooled, weight = ctx.saved_tensors
        constants = data, indices, pooled.detach(), weight.detach()
        return *transposed(ctx.linear, constants, entries, ctx.needs_input_grad[:2]), None, None, None, None


@dataclass(frozen=True, eq=False)
class _PooledConvolution:
    """The output of the pool [n, channels, ...] as a linear map of weight and bias, at fixed maxima.

    Constants: the data, the indices of the maxima, the output of the pool, and a tensor like the weight.
    """

    geometry: Geometry
    window: Window
    inputs: int = 2

    def __call__(self, constants: tuple[Tensor, ...], inputs: tuple[Tensor | None, ...]) -> Tensor:
        (data, indices, pooled, _), (weight, bias) = constants, inputs
        if weight is None:
            return relu_backward(torch.zeros_like(pooled) + (0.0 if bias is None else bias.view(-1, 1, 1)), pooled)
        entries = torch.empty_like(pooled)
        for part in blocks(len(data), self.window.size.numel(), data):
            found = at_maxima(convolution(data[part], weight, bias, self.geometry), indices[part])
            relu_backward(found, pooled[part], out=entries[part])
        return entries

    def transpose(
        self, constants: tuple[Tensor, ...], output: Tensor, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        data, indices, pooled, like = constants
        weight, bias = torch.zeros_like(like), output.new_zeros(len(like)) if wanted[1] else None
        for part in blocks(len(data), self.window.size.numel(), data):
            entries = relu_backward(output[part], pooled[part])
            if bias is not None:
                bias += entries.sum((0, 2, 3))
            gradient = max_unpool(entries, indices[part], self.window)
            for_weight, _ = parameter_gradients(gradient, data[part], like, False, self.geometry)
            assert for_weight is not None
            weight += for_weight
        return weight, bias

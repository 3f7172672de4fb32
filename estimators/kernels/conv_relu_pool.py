"""A first layer as one: a convolution of the data, a ReLU and max pooling, linear while the maxima stay where they are.

What the convolution returns is the largest tensor of a network like the paper's, four times what is left after the
pool, and each derivative writes and reads it several times. No neighbour needs it: below lie the data, above it the
pool. So it is formed for a few samples at a time and never leaves the cache, which takes a third of the time. Along a
direction in the parameters the entries are those of the direction's convolution, at the maxima; the transpose of that
gives the parameters' gradients. The numbers differ from autograd's by the order of a sum over samples.
"""

from typing import Any

import torch
from torch import Tensor

from estimators.kernels.blocks import blocks
from estimators.kernels.convolutions import Convolution, Geometry, convolution, parameter_gradients
from estimators.kernels.max_pool import Window, gathered, passed, pooled_maxima, spread


def pooled_convolution(found: Convolution, relu: Tensor, window: Window) -> Tensor:
    """The max pooling of a convolution's ReLU, as a function of weight and bias; differentiable any number of times."""
    result: Tensor = _PooledConvolution.apply(found.weight, found.bias, found.input, relu, found.geometry, window)
    return result


class _PooledConvolution(torch.autograd.Function):
    """The value is read off the ReLU, which is there."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        bias: Tensor | None,
        input: Tensor,  # noqa: A002, torch's name
        relu: Tensor,
        geometry: Geometry,
        window: Window,
    ) -> Tensor:
        pooled, indices = pooled_maxima(relu, window)
        ctx.save_for_backward(input, indices, pooled, weight)
        ctx.layer = geometry, window
        return pooled

    @staticmethod
    def backward(ctx: Any, entries: Tensor) -> tuple[Tensor | None, ...]:
        input_, indices, pooled, weight = ctx.saved_tensors
        constants = input_, indices, pooled.detach(), weight.detach()
        found = _ParameterGradients.apply(entries, *constants, ctx.needs_input_grad[1], *ctx.layer)
        return (*found, None, None, None, None)


class _Entries(torch.autograd.Function):
    """[n, channels, ...]: how the pooled numbers move with weight and bias, linear in both."""

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor | None,
        bias: Tensor | None,
        input: Tensor,  # noqa: A002
        indices: Tensor,
        pooled: Tensor,
        like: Tensor,
        geometry: Geometry,
        window: Window,
    ) -> Tensor:
        ctx.save_for_backward(input, indices, pooled, like)
        ctx.layer = geometry, window
        if weight is None:
            return passed(torch.zeros_like(pooled) + (0.0 if bias is None else bias.view(-1, 1, 1)), pooled)
        entries = torch.empty_like(pooled)
        for part in blocks(len(input), window.size.numel(), input):
            found = gathered(convolution(input[part], weight, bias, geometry), indices[part])
            passed(found, pooled[part], out=entries[part])
        return entries

    @staticmethod
    def backward(ctx: Any, entries: Tensor) -> tuple[Tensor | None, ...]:
        found = _ParameterGradients.apply(entries, *ctx.saved_tensors, ctx.needs_input_grad[1], *ctx.layer)
        return (*found, *[None] * 6)


class _ParameterGradients(torch.autograd.Function):
    """What :class:`_Entries` is the transpose of: for weight and bias."""

    @staticmethod
    def forward(
        ctx: Any,
        entries: Tensor,
        input: Tensor,  # noqa: A002
        indices: Tensor,
        pooled: Tensor,
        like: Tensor,
        with_bias: bool,
        geometry: Geometry,
        window: Window,
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(input, indices, pooled, like)
        ctx.set_materialize_grads(False)
        ctx.layer = geometry, window
        weight, bias = torch.zeros_like(like), entries.new_zeros(len(like)) if with_bias else None
        for part in blocks(len(input), window.size.numel(), input):
            let_through = passed(entries[part], pooled[part])
            if bias is not None:
                bias += let_through.sum((0, 2, 3))
            large = spread(let_through, indices[part], window)
            weight += parameter_gradients(large, input[part], like, False, geometry)[0]
        return weight, bias

    @staticmethod
    def backward(ctx: Any, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        found = None
        if weight is not None or bias is not None:
            found = _Entries.apply(weight, bias, *ctx.saved_tensors, *ctx.layer)
        return (found, *[None] * 7)

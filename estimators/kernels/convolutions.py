"""Convolutions with a faster double backward that skips gradients nobody needs.

Autograd's second derivative of a convolution always computes the gradient with respect to its input. The input of the
first layer is the data, so this gradient is discarded. It takes a tenth of the time of a product with the paper's CNN,
and autograd saves the gradient of the convolution's output, its largest tensor, to compute it. Autograd also computes
the derivative with respect to the weight as a convolution with a kernel as large as an image, which takes three times
as long as the first-order weight gradient.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from estimators.kernels.linear_map import transposed
from estimators.kernels.saved_hooks import ReplacingMode

_DIMENSIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
# Upper limit for channels times kernel entries: 27 for a 3x3 kernel on colour images. With so few, cuDNN's weight
# gradient is slow: 3.1 ms, against 0.4 ms with patches, for 1,776 images of 3x32x32 on an H100.
_FEW_INPUTS = 64
# Stride, padding and dilation, each per dimension, and groups.
Geometry = tuple[list[int], list[int], list[int], int]


class LeanConvolutions(ReplacingMode):
    """Replaces convolutions of batched inputs with this module's implementation."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls the function or its replacement."""
        if func in _DIMENSIONS and self.replaces:
            return _convolution(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolution(
    func: Callable[..., Tensor],
    input: Tensor,  # noqa: A002, torch.conv2d's name for this argument
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | list[int] = 1,
    padding: int | list[int] | str = 0,
    dilation: int | list[int] = 1,
    groups: int = 1,
) -> Tensor:
    dimensions = _DIMENSIONS[func]
    batched = input.ndim == dimensions + 2
    if not weight.requires_grad or not batched or isinstance(padding, str):
        return func(input, weight, bias, stride, padding, dilation, groups)
    function = _HiddenConvolution if input.requires_grad else _DataConvolution
    arguments = (per_dimension(value, dimensions) for value in (stride, padding, dilation))
    result: Tensor = function.apply(input, weight, bias, (*arguments, groups))
    return result


def per_dimension(value: int | list[int], dimensions: int) -> list[int]:
    """An argument of a convolution or pool as a list with one entry per dimension."""
    values = [value] if isinstance(value, int) else list(value)
    return values * dimensions if len(values) == 1 else values


@dataclass(frozen=True, eq=False)
class FirstConvolution:
    """A convolution of data: only weight and bias need gradients."""

    data: Tensor
    weight: Tensor
    bias: Tensor | None
    geometry: Geometry


def convolution_of_data(output: Tensor) -> FirstConvolution | None:
    """The lean convolution of data that returned ``output``; None for other operations and modified outputs."""
    node: Any = output.grad_fn
    if getattr(node, "_forward_cls", None) is not _DataConvolution:
        return None
    data, weight, bias = node.saved_tensors
    return FirstConvolution(data, weight, bias, node.geometry)


class _DataConvolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(data: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        return convolution(data, weight, bias, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        data, weight, bias, ctx.geometry = inputs
        ctx.save_for_backward(data, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        data, weight, _ = ctx.saved_tensors
        linear = _OutputOfParameters(ctx.geometry, gradient.shape)
        return None, *transposed(linear, (data, weight.detach()), gradient, ctx.needs_input_grad[1:3]), None


@dataclass(frozen=True, eq=False)
class _OutputOfParameters:
    """The output of a convolution as a linear map of weight and bias. Constants: the data, and a tensor like weight."""

    geometry: Geometry
    shape: torch.Size
    """Shape of the output."""
    inputs: int = 2

    def __call__(self, constants: tuple[Tensor, ...], inputs: tuple[Tensor | None, ...]) -> Tensor:
        weight, bias = inputs
        if weight is None:
            output = constants[0].new_zeros(self.shape)
        else:
            output = convolution(constants[0], weight, None, self.geometry)
        return output if bias is None else output.add_(bias.view(-1, *[1] * (len(self.shape) - 2)))

    def transpose(
        self, constants: tuple[Tensor, ...], output: Tensor, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        data, like = constants
        return parameter_gradients(output, data, like, wanted[1], self.geometry)


def parameter_gradients(
    gradient: Tensor, inputs: Tensor, weight: Tensor, with_bias: bool, geometry: Geometry
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of weight and bias from the gradient of the output. Only the shape of ``weight`` matters."""
    if _has_few_inputs(inputs, weight, geometry):
        products = gradient.flatten(2) @ _patches(inputs, weight, geometry).mT
        return products.sum(0).view_as(weight), gradient.transpose(0, 1).flatten(1).sum(1) if with_bias else None
    return _backward(gradient, inputs, weight, geometry, (False, True, with_bias))[1:]


def _has_few_inputs(inputs: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether the weight gradient is faster as a product with patches, which takes a tenth of cuDNN's memory."""
    return inputs.is_cuda and geometry[3] == 1 and weight[0].numel() <= _FEW_INPUTS


def _patches(inputs: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Patches [n, channels * kernel, positions]: the inputs of each output position."""
    stride, padding, dilation, _ = geometry
    view = torch.nn.functional.pad(inputs, [side for size in reversed(padding) for side in (size, size)])
    dimensions = len(stride)
    for axis in range(dimensions):
        size = dilation[axis] * (weight.shape[2 + axis] - 1) + 1
        view = view.unfold(2 + axis, size, stride[axis])[..., :: dilation[axis]]
    # Now [n, channels, positions..., kernel...].
    kernel, positions = range(2 + dimensions, 2 + 2 * dimensions), range(2, 2 + dimensions)
    return view.permute(0, 1, *kernel, *positions).flatten(2 + dimensions).flatten(1, 1 + dimensions)


class _HiddenConvolution(_DataConvolution):
    """A convolution whose input needs a gradient too."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, _ = ctx.saved_tensors
        found = _HiddenGradients.apply(gradient, inputs, weight, ctx.needs_input_grad[2], ctx.geometry)
        return (*found, None)


class _HiddenGradients(torch.autograd.Function):
    """Gradients of input, weight and bias. The first two are bilinear, so this is not a `LinearMap`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gradient: Tensor, inputs: Tensor, weight: Tensor, with_bias: bool, geometry: Geometry
    ) -> tuple[Tensor | None, ...]:
        _, for_weight, for_bias = _backward(gradient, inputs, weight, geometry, (False, True, with_bias))
        return _input_gradient(gradient, inputs, weight, geometry), for_weight, for_bias

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        *tensors, _, ctx.geometry = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, for_input: Tensor | None, for_weight: Tensor | None, for_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        gradient, inputs, weight = ctx.saved_tensors
        parts = [] if for_input is None else [convolution(for_input, weight, None, ctx.geometry)]
        if for_weight is not None:
            parts.append(convolution(inputs, for_weight, None, ctx.geometry))
        if for_bias is not None:
            parts.append(for_bias.view(-1, *[1] * (gradient.ndim - 2)).expand_as(gradient))
        to_input, to_weight = None, None
        if for_weight is not None and ctx.needs_input_grad[1]:
            to_input = _input_gradient(gradient, inputs, for_weight, ctx.geometry)
        if for_input is not None and ctx.needs_input_grad[2]:
            _, to_weight, _ = _backward(gradient, for_input, weight, ctx.geometry, (False, True, False))
        return (sum(parts[1:], parts[0]) if parts else None), to_input, to_weight, None, None


def _input_gradient(gradient: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry) -> Tensor | None:
    """Gradient of the input, computed as a forward convolution if possible, because cuDNN then needs no workspace.

    For 1,776 images in the second layer of the paper's CNN on an H100, this takes 0.3 ms instead of 0.5 ms, and 50 MB
    instead of 530 MB.
    """
    stride, padding, dilation, groups = geometry
    border = [d * (size - 1) - p for d, size, p in zip(dilation, weight.shape[2:], padding, strict=True)]
    if groups == 1 and max(stride) == 1 and min(border) >= 0:
        flipped = weight.transpose(0, 1).flip(list(range(2, weight.ndim)))
        return convolution(gradient, flipped, None, (stride, border, dilation, groups))
    return _backward(gradient, inputs, weight, geometry, (True, False, False))[0]


def _backward(
    gradient: Tensor, inputs: Tensor, weight: Tensor, geometry: Geometry, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The wanted gradients of input, weight and bias, themselves differentiable."""
    stride, padding, dilation, groups = geometry
    bias, no_output_padding = ([len(weight)] if wanted[2] else None), [0] * len(stride)
    found: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, bias, stride, padding, dilation, False, no_output_padding, groups, wanted
    )
    return found


def convolution(inputs: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Calls `torch.convolution` with the arguments of ``geometry``."""
    stride, padding, dilation, groups = geometry
    return torch.convolution(inputs, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)

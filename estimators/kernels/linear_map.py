"""Linear maps as autograd functions. Each is declared once, as a map and its transpose.

The backward pass of a linear map is its transpose, and the backward pass of the transpose is the map. So the two
methods of a `LinearMap` are enough for derivatives of any order.
"""

from typing import Any, Protocol

import torch
from torch import Tensor


class LinearMap(Protocol):
    """A linear map from one or more inputs to one output. It may depend on constant tensors, which get no gradient."""

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        ...

    def __call__(self, constants: tuple[Tensor, ...], inputs: tuple[Tensor | None, ...]) -> Tensor:
        """Computes the output. None stands for an input of zeros."""
        ...

    def transpose(
        self, constants: tuple[Tensor, ...], output: Tensor, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        """Applies the transpose to an output. Returns one tensor per input, or None if it is not wanted."""
        ...


def transposed(
    linear: LinearMap, constants: tuple[Tensor, ...], output: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """``linear.transpose(...)``, differentiable with respect to ``output`` to any order."""
    found: tuple[Tensor | None, ...] = _Transpose.apply(linear, wanted, output, *constants)
    return found


class _Map(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(linear: LinearMap, *tensors: Any) -> Tensor:
        return linear(tensors[: -linear.inputs], tensors[-linear.inputs :])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.linear, *tensors = inputs
        ctx.save_for_backward(*tensors[: -ctx.linear.inputs])

    @staticmethod
    def backward(ctx: Any, output: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[-ctx.linear.inputs :]
        found = transposed(ctx.linear, ctx.saved_tensors, output, wanted)
        return (None, *[None] * len(ctx.saved_tensors), *found)


class _Transpose(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        linear: LinearMap, wanted: tuple[bool, ...], output: Tensor, *constants: Tensor
    ) -> tuple[Tensor | None, ...]:
        return linear.transpose(constants, output, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        ctx.linear, _, _, *constants = inputs
        ctx.save_for_backward(*constants)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        constants = ctx.saved_tensors
        found = None
        if any(tensor is not None for tensor in inputs):
            found = _Map.apply(ctx.linear, *constants, *inputs)
        return (None, None, found, *[None] * len(constants))

"""Max pooling of a ReLU's output, which is linear as long as the maxima keep their positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import Scratch, blocks
from estimators.kernels.channels_last import is_channels_last, to_channels_last
from estimators.kernels.convolutions import per_dimension

_aten = torch.ops.aten


@dataclass(frozen=True)
class Window:
    """The input shape and the arguments of a max pool."""

    size: torch.Size
    """[channels, height, width] of the input."""
    memory_format: torch.memory_format
    arguments: tuple[list[int] | bool, ...]
    """Kernel, stride, padding, dilation, each per dimension, and ceil_mode."""

    @classmethod
    def of(
        cls,
        relu: Tensor,
        kernel_size: int | list[int],
        stride: int | list[int] | None = None,
        padding: int | list[int] = 0,
        dilation: int | list[int] = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> "Window | None":
        """Creates a window from the arguments of max_pool2d. None if the call also returns the indices."""
        if return_indices:
            return None
        # In torch an empty stride means the kernel size.
        geometry = (per_dimension(value, 2) for value in (kernel_size, stride or kernel_size, padding, dilation))
        memory_format = torch.channels_last if is_channels_last(relu) else torch.contiguous_format
        return cls(relu.shape[1:], memory_format, (*geometry, ceil_mode))


def max_pool(relu: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Returns the maxima and their indices within a channel. The indices are int32, which halves their memory."""
    if relu.device.type != "cpu" or window.memory_format == torch.channels_last:
        pooled, indices = _aten.max_pool2d_with_indices(relu, *window.arguments)
        return pooled, indices.to(torch.int32)
    # On a CPU, pooling in channels_last takes a third of the time, including the conversion.
    parts = [
        _aten.max_pool2d_with_indices(to_channels_last(relu[part]), *window.arguments)
        for part in blocks(len(relu), window.size.numel(), relu)
    ]
    pooled = torch.cat([maxima.contiguous() for maxima, _ in parts])
    return pooled, torch.cat([indices.to(torch.int32).contiguous() for _, indices in parts])


def relu_backward(gradient: Tensor, pooled: Tensor, out: Tensor | None = None) -> Tensor:
    """Gradient with respect to the ReLU's input at the maxima: zero unless the maximum is positive or NaN."""
    gradient = to_channels_last(gradient) if is_channels_last(pooled) else gradient
    result: Tensor = (
        _aten.threshold_backward(gradient, pooled, 0)
        if out is None
        else _aten.threshold_backward.grad_input(gradient, pooled, 0, grad_input=out)
    )
    return result


def max_unpool(entries: Tensor, indices: Tensor, window: Window) -> Tensor:
    """Zeros [n, channels, height, width], to which entries [n, channels, ...] are added at the positions of maxima."""
    shape = len(entries), *window.size
    # The kernel reads only the shape and memory format of this argument, the input of the pool.
    like = torch.empty(shape, dtype=entries.dtype, device=entries.device, memory_format=window.memory_format)
    result: Tensor = _aten.max_pool2d_with_indices_backward(entries, like, *window.arguments, indices.long())
    return result


def at_maxima(images: Tensor, indices: Tensor) -> Tensor:
    """Gathers the entries of images at the positions of the maxima: the transpose of `max_unpool`."""
    if is_channels_last(indices):
        images = to_channels_last(images).permute(0, 2, 3, 1).flatten(1, 2)
        indices = indices.permute(0, 2, 3, 1)
        return images.gather(1, indices.long().flatten(1, 2)).view(indices.shape).permute(0, 3, 1, 2)
    return images.flatten(2).gather(2, indices.long().flatten(2)).view(indices.shape)


@dataclass(frozen=True, eq=False)
class PooledGradients:
    """Gradients with respect to the input of ReLU and max pool, stored as one entry per pooling window."""

    columns: Sequence[Tensor]
    """Gradients [n, channels, ...] of several functions with respect to the pool's output."""
    pooled: Tensor
    """The output of the pool [n, channels, ...]. It is positive exactly where the ReLU was active."""
    indices: Tensor
    """The positions of the maxima in a channel [n, channels, ...]."""
    window: Window

    def entries(self, column: int, samples: slice = slice(None)) -> Tensor:
        """The gradients at the maxima of the windows for one column [n, channels, ...], for a slice of samples."""
        return relu_backward(self.columns[column][samples], self.pooled[samples])

    def stacked_entries(self, samples: slice, scratch: Scratch) -> Tensor:
        """The entries of all columns [m, channels, columns, ...], for a slice of m samples."""
        pooled = self.pooled[samples]
        shape = *pooled.shape[:2], len(self.columns), *pooled.shape[2:]
        found = scratch.get("entries", shape, pooled)
        for column in range(len(self.columns)):
            # A separate copy is seven times as fast as an operation that writes to a different memory format.
            found[:, :, column].copy_(self.entries(column, samples))
        return found

    def dense(self, column: int, samples: slice = slice(None)) -> Tensor:
        """The gradient [n, channels, height, width] of one column, for a slice of samples."""
        return max_unpool(self.entries(column, samples), self.indices[samples], self.window)

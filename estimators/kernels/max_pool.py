"""Max pooling of a ReLU as the linear map that it is while its maxima stay where they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import Scratch, blocks
from estimators.kernels.channels_last import is_channels_last, to_channels_last

_aten = torch.ops.aten


@dataclass(frozen=True)
class Window:
    """What is pooled, and how."""

    size: torch.Size
    """Of the channels: [channels, height, width]."""
    layout: torch.memory_format
    arguments: tuple[list[int], list[int], list[int], list[int], bool]
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
        """From the arguments of max_pool2d; None where the indices are wanted, too."""
        if return_indices:
            return None
        kernel = _pair(kernel_size)
        # An empty stride is torch's for that of the kernel.
        arguments = kernel, _pair(stride) if stride else kernel, _pair(padding), _pair(dilation), ceil_mode
        layout = torch.channels_last if is_channels_last(relu) else torch.contiguous_format
        return cls(relu.shape[1:], layout, arguments)


def _pair(value: int | list[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def pooled_maxima(relu: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The largest of each window, and its place in its channel: in half the bytes, no channel has 2^31 pixels."""
    if relu.device.type != "cpu" or window.layout == torch.channels_last:
        pooled, indices = _aten.max_pool2d_with_indices(relu, *window.arguments)
        return pooled, indices.to(torch.int32)
    # Pixel by pixel it takes a third as long on a processor, the turning included: channels are compared side by side.
    parts = [
        _aten.max_pool2d_with_indices(to_channels_last(relu[part]), *window.arguments)
        for part in blocks(len(relu), window.size.numel(), relu)
    ]
    pooled = torch.cat([maxima.contiguous() for maxima, _ in parts])
    return pooled, torch.cat([places.to(torch.int32).contiguous() for _, places in parts])


def passed(numbers: Tensor, pooled: Tensor, out: Tensor | None = None) -> Tensor:
    """Zero where the ReLU stopped the maximum. NaN goes through a ReLU, and so does its gradient."""
    numbers = to_channels_last(numbers) if is_channels_last(pooled) else numbers
    result: Tensor = (
        _aten.threshold_backward(numbers, pooled, 0)
        if out is None
        else _aten.threshold_backward.grad_input(numbers, pooled, 0, grad_input=out)
    )
    return result


def spread(entries: Tensor, indices: Tensor, window: Window) -> Tensor:
    """Every entry to its maximum's place."""
    shape = len(entries), *window.size
    # Of the pooled tensor the kernel reads shape and layout only.
    like = torch.empty(shape, dtype=entries.dtype, device=entries.device, memory_format=window.layout)
    result: Tensor = _aten.max_pool2d_with_indices_backward(entries, like, *window.arguments, indices.long())
    return result


def gathered(large: Tensor, indices: Tensor) -> Tensor:
    """What lies at the maxima's places: the transpose of :func:`spread`."""
    if is_channels_last(indices):
        large = to_channels_last(large).permute(0, 2, 3, 1).flatten(1, 2)
        places = indices.permute(0, 2, 3, 1)
        return large.gather(1, places.long().flatten(1, 2)).view(places.shape).permute(0, 3, 1, 2)
    return large.flatten(2).gather(2, indices.long().flatten(2)).view(indices.shape)


@dataclass(frozen=True, eq=False)
class PooledGradients:
    """Gradients [n, channels, height, width], zero but for one entry, at most, of each window of a pool of a ReLU."""

    columns: Sequence[Tensor]
    """[n, channels, ...] each: what came back to the pool, for some functions of its output."""
    pooled: Tensor
    """[n, channels, ...]: the output, which tells what the ReLU stopped."""
    indices: Tensor
    """[n, channels, ...]: the maxima's places in a channel, the same for every function."""
    window: Window

    def entries(self, column: int, samples: slice = slice(None)) -> Tensor:
        """[n, channels, ...] of some samples, one for each window."""
        return passed(self.columns[column][samples], self.pooled[samples])

    def by_channel(self, samples: slice, scratch: Scratch) -> Tensor:
        """[m, channels, columns, ...]: the entries of some samples, those of a channel side by side."""
        pooled = self.pooled[samples]
        shape = *pooled.shape[:2], len(self.columns), *pooled.shape[2:]
        found = scratch.of("entries", shape, pooled)
        for column in range(len(self.columns)):
            # A copy of its own is seven times as fast as an operation that turns images around as it writes.
            found[:, :, column].copy_(self.entries(column, samples))
        return found

    def whole(self, column: int, samples: slice = slice(None)) -> Tensor:
        """A gradient itself for some samples."""
        return spread(self.entries(column, samples), self.indices[samples], self.window)

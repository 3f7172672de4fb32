"""Max pooling of a ReLU, differentiated past the ReLU: the same numbers, bit for bit, for half the memory.

Autograd keeps what the ReLU returned, as large as the layer before it, and 8 bytes for the place of every maximum. In
each derivative it writes a gradient of that size, in which one in four entries of a 2x2 pool is not zero, and reads and
writes all of them again for the ReLU. Whether the ReLU let the maximum of a window through is to be seen at the pooled
number already: a quarter of the comparisons, one large tensor less, and nothing large to keep. Below a first layer
nobody needs the large gradient at once either: it can be formed for a few samples at a time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

_aten = torch.ops.aten
_RELUS = (nn.functional.relu, torch.relu, Tensor.relu)
_POOLS = (nn.functional.max_pool2d, torch.max_pool2d)


class PooledRelus(TorchFunctionMode):
    """Within, 2d max pooling of what a ReLU returned goes around the ReLU. Differentiable any number of times."""

    def __init__(self) -> None:
        super().__init__()
        #: By a ReLU's output: what went into it, and how often the output had been written.
        self._relus = WeakIdKeyDictionary()
        #: By the node of what went into the ReLU.
        self.pools: dict[Node, Pool] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The function's result, whatever computes it."""
        if func in _POOLS and args:
            before, version = self._relus.get(args[0], (None, 0))
            if before is not None and args[0].ndim == 4 and args[0]._version == version:
                window = _Window.of(*args, **(kwargs or {}))
                return func(*args, **(kwargs or {})) if window is None else self._pool(before, args[0].detach(), window)
        result = func(*args, **(kwargs or {}))
        if func in _RELUS and args and result is not args[0] and result.requires_grad:
            self._relus[result] = args[0], result._version
        return result

    def _pool(self, before: Tensor, relu: Tensor, window: "_Window") -> Tensor:
        result: Tensor = _MaxPool.apply(before, relu, window)
        self.pools[get_gradient_edge(before).node] = Pool(get_gradient_edge(result))
        return result


@dataclass(frozen=True, eq=False)
class Pool:
    """Max pooling of a ReLU, by the place of its output in the graph."""

    edge: GradientEdge

    def gradient(self, pooled: Tensor) -> "PooledGradient":
        """Of what went into the ReLU, where ``pooled`` is that of the output."""
        node: Any = self.edge.node
        indices, output = (saved.detach() for saved in node.saved_tensors)
        return PooledGradient(_passed(pooled, output), indices, node.window)


@dataclass(frozen=True, eq=False)
class PooledGradient:
    """A gradient [n, channels, height, width] that is zero but for one entry, at most, of each window of a pool."""

    entries: Tensor
    """[n, channels, ...], one for each window."""
    indices: Tensor
    """Their places in a channel, shaped like them."""
    window: "_Window"

    def whole(self, samples: slice = slice(None)) -> Tensor:
        """The gradient itself for some samples."""
        return _spread(self.entries[samples], self.indices[samples], self.window)


@dataclass(frozen=True)
class _Window:
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
    ) -> "_Window | None":
        """From the arguments of max_pool2d; None where the indices are wanted, too."""
        if return_indices:
            return None
        kernel = _pair(kernel_size)
        # An empty stride is torch's for that of the kernel.
        arguments = kernel, _pair(stride) if stride else kernel, _pair(padding), _pair(dilation), ceil_mode
        by_pixel = relu.is_contiguous(memory_format=torch.channels_last) and not relu.is_contiguous()
        return cls(relu.shape[1:], torch.channels_last if by_pixel else torch.contiguous_format, arguments)


def _pair(value: int | list[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def _passed(numbers: Tensor, pooled: Tensor) -> Tensor:
    """Zero where the ReLU stopped the maximum. NaN goes through a ReLU, and so does its gradient."""
    result: Tensor = _aten.threshold_backward(numbers, pooled, 0)
    return result


def _spread(entries: Tensor, indices: Tensor, window: _Window) -> Tensor:
    """Every entry to its maximum's place."""
    shape = len(entries), *window.size
    # Of the pooled tensor the kernel reads shape and layout only.
    like = torch.empty(shape, dtype=entries.dtype, device=entries.device, memory_format=window.layout)
    result: Tensor = _aten.max_pool2d_with_indices_backward(entries, like, *window.arguments, indices.long())
    return result


class _MaxPool(torch.autograd.Function):
    """Of a ReLU's output, as a function of the ReLU's input."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, relu: Tensor, window: _Window) -> Tensor:
        pooled, indices = _aten.max_pool2d_with_indices(relu, *window.arguments)
        # Half the bytes; no channel has 2^31 pixels.
        ctx.save_for_backward(indices.to(torch.int32), pooled)
        ctx.window = window
        return pooled  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        indices, pooled = ctx.saved_tensors
        spread: Tensor = _Spread.apply(gradient, indices, pooled.detach(), ctx.window)
        return spread, None, None


class _Spread(torch.autograd.Function):
    """Every number to its maximum's place, those that the ReLU stopped to none; linear in the numbers."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, indices: Tensor, pooled: Tensor, window: _Window) -> Tensor:
        ctx.save_for_backward(indices, pooled)
        ctx.window = window
        return _spread(_passed(numbers, pooled), indices, window)

    @staticmethod
    def backward(ctx: Any, large: Tensor) -> tuple[Tensor, None, None, None]:
        found: Tensor = _Gather.apply(large, *ctx.saved_tensors, ctx.window)
        return found, None, None, None


class _Gather(torch.autograd.Function):
    """What :class:`_Spread` is the transpose of."""

    @staticmethod
    def forward(ctx: Any, large: Tensor, indices: Tensor, pooled: Tensor, window: _Window) -> Tensor:
        ctx.save_for_backward(indices, pooled)
        ctx.window = window
        found = large.flatten(2).gather(2, indices.long().flatten(2)).view(indices.shape)
        return _passed(found, pooled)

    @staticmethod
    def backward(ctx: Any, numbers: Tensor) -> tuple[Tensor, None, None, None]:
        spread: Tensor = _Spread.apply(numbers, *ctx.saved_tensors, ctx.window)
        return spread, None, None, None

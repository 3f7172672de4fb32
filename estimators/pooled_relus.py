"""Max pooling of a ReLU, differentiated past the ReLU: the same gradients, bit for bit, for less memory traffic.

Autograd writes the gradient of a ReLU's output, as large as the layer before it, where one in four entries of a 2x2
pool is not zero, and reads and writes all of them again for the ReLU. Whether the ReLU let the largest number of a
window through is to be seen at the pooled number already: a quarter of the comparisons, and one large tensor less.
Below a first layer nobody needs the large tensor at once either: it is formed for a few samples at a time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

_aten = torch.ops.aten
_RELUS = (nn.functional.relu, torch.relu, Tensor.relu)
_POOLS = (nn.functional.max_pool2d, torch.max_pool2d)


@dataclass(frozen=True, eq=False)
class Pool:
    """Max pooling of a ReLU, and the place of its output in the graph."""

    edge: GradientEdge

    def gradient(self, pooled: Tensor) -> "PooledGradient":
        """Of what went into the ReLU, where ``pooled`` is that of the output."""
        node: Any = self.edge.node
        relu, indices, output = (saved.detach() for saved in node.saved_tensors)
        return PooledGradient(_aten.threshold_backward(pooled, output, 0), relu, indices, node.window)


@dataclass(frozen=True, eq=False)
class PooledGradient:
    """A gradient [n, channels, height, width] that is zero but for one entry, at most, of each window of a pool."""

    entries: Tensor
    """[n, channels, ...], one for each window."""
    like: Tensor
    indices: Tensor
    window: tuple[Any, ...]

    def whole(self, samples: slice = slice(None)) -> Tensor:
        """The gradient itself for some samples."""
        entries, like, indices = self.entries[samples], self.like[samples], self.indices[samples]
        gradient: Tensor = _aten.max_pool2d_with_indices_backward(entries, like, *self.window, indices)
        return gradient


class PooledRelus(TorchFunctionMode):
    """Within, max pooling of what a ReLU returned is differentiated in one step."""

    def __init__(self) -> None:
        super().__init__()
        #: What went into each ReLU and how often its output had been written, by the output.
        self._relus = WeakTensorKeyDictionary()
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
            window = _window(*args[1:], **(kwargs or {}))
            before, version = self._relus.get(args[0], (None, 0))
            if before is not None and window is not None and args[0]._version == version:
                return self._pool(before, args[0].detach(), window)
        result = func(*args, **(kwargs or {}))
        if func in _RELUS and args and result is not args[0] and result.requires_grad:
            self._relus[result] = args[0], result._version
        return result

    def _pool(self, before: Tensor, relu: Tensor, window: tuple[Any, ...]) -> Tensor:
        result: Tensor = _MaxPoolOfRelu.apply(before, relu, window)
        self.pools[get_gradient_edge(before).node] = Pool(get_gradient_edge(result))
        return result


def _window(
    kernel_size: int | list[int],
    stride: int | list[int] | None = None,
    padding: int | list[int] = 0,
    dilation: int | list[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, ...] | None:
    """The arguments of max_pool2d as its backward pass takes them."""
    if return_indices:
        return None
    kernel_size, padding, dilation = (_pair(value) for value in (kernel_size, padding, dilation))
    # An empty stride is torch's for that of the kernel.
    stride = _pair(stride) if stride else kernel_size
    return kernel_size, stride, padding, dilation, ceil_mode


def _pair(value: int | list[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


class _MaxPoolOfRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, before: Tensor, relu: Tensor, window: tuple[Any, ...]) -> Tensor:
        pooled, indices = _aten.max_pool2d_with_indices(relu, *window)
        ctx.save_for_backward(relu, indices, pooled)
        ctx.window = window
        return pooled  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        relu, indices, pooled = ctx.saved_tensors
        passed = _aten.threshold_backward(gradient, pooled, 0)
        return _aten.max_pool2d_with_indices_backward(passed, relu, *ctx.window, indices), None, None

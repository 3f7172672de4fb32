"""Max pooling of a ReLU, differentiated past the ReLU: the same numbers, bit for bit, for half the memory.

Autograd keeps what the ReLU returned, as large as the layer before it, and 8 bytes for the place of every maximum. In
each derivative it writes a gradient of that size, in which one in four entries of a 2x2 pool is not zero, and reads and
writes all of them again for the ReLU. Whether the ReLU let the maximum of a window through is to be seen at the pooled
number already: a quarter of the comparisons, one large tensor less, and nothing large to keep. A lean convolution of
the data below it (:mod:`estimators.kernels.convolutions`) is taken along (:mod:`estimators.kernels.conv_relu_pool`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from estimators.kernels.conv_relu_pool import pooled_convolution
from estimators.kernels.convolutions import convolution_of_data
from estimators.kernels.max_pool import PooledGradients, Window, gathered, passed, pooled_maxima, spread

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
                window = Window.of(*args, **(kwargs or {}))
                return func(*args, **(kwargs or {})) if window is None else self._pool(before, args[0].detach(), window)
        result = func(*args, **(kwargs or {}))
        if func in _RELUS and args and result is not args[0] and result.requires_grad:
            self._relus[result] = args[0], result._version
        return result

    def _pool(self, before: Tensor, relu: Tensor, window: Window) -> Tensor:
        convolution = convolution_of_data(before)
        if convolution is not None:
            return pooled_convolution(convolution, relu, window)
        result: Tensor = _MaxPool.apply(before, relu, window)
        self.pools[get_gradient_edge(before).node] = Pool(get_gradient_edge(result))
        return result


@dataclass(frozen=True, eq=False)
class Pool:
    """Max pooling of a ReLU, by the place of its output in the graph."""

    edge: GradientEdge

    def gradients(self, columns: Sequence[Tensor]) -> PooledGradients:
        """Of what went into the ReLU, where ``columns`` [n, ...] are some of the output."""
        node: Any = self.edge.node
        indices, pooled = (saved.detach() for saved in node.saved_tensors)
        return PooledGradients(columns, pooled, indices, node.window)


class _MaxPool(torch.autograd.Function):
    """Of a ReLU's output, as a function of the ReLU's input."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, relu: Tensor, window: Window) -> Tensor:
        pooled, indices = pooled_maxima(relu, window)
        ctx.save_for_backward(indices, pooled)
        ctx.window = window
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        indices, pooled = ctx.saved_tensors
        large: Tensor = _Spread.apply(gradient, indices, pooled.detach(), ctx.window)
        return large, None, None


class _Spread(torch.autograd.Function):
    """Every number to its maximum's place, those that the ReLU stopped to none; linear in the numbers."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, indices: Tensor, pooled: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(indices, pooled)
        ctx.window = window
        return spread(passed(numbers, pooled), indices, window)

    @staticmethod
    def backward(ctx: Any, large: Tensor) -> tuple[Tensor, None, None, None]:
        found: Tensor = _Gather.apply(large, *ctx.saved_tensors, ctx.window)
        return found, None, None, None


class _Gather(torch.autograd.Function):
    """What :class:`_Spread` is the transpose of."""

    @staticmethod
    def forward(ctx: Any, large: Tensor, indices: Tensor, pooled: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(indices, pooled)
        ctx.window = window
        return passed(gathered(large, indices), pooled)

    @staticmethod
    def backward(ctx: Any, numbers: Tensor) -> tuple[Tensor, None, None, None]:
        large: Tensor = _Spread.apply(numbers, *ctx.saved_tensors, ctx.window)
        return large, None, None, None

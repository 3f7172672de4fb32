"""Max pooling of a ReLU with less memory and bit-identical results.

Autograd saves the output of the ReLU, which is as large as its input, and 8 bytes for the index of every maximum. Each
backward pass writes a gradient of that size, then reads and rewrites it for the ReLU. For a 2x2 pool at most a quarter
of its entries are nonzero. The ReLU mask can be read off the pooled output: it is positive exactly where the ReLU was
active. So a quarter of the comparisons is enough, and nothing large is saved. If the ReLU follows a lean convolution of
data (`estimators.kernels.convolutions`), all three become one operation, which is not bit-identical
(`estimators.kernels.conv_relu_pool`).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.utils.weak import WeakIdKeyDictionary

from estimators.kernels.conv_relu_pool import conv_relu_pool
from estimators.kernels.convolutions import convolution_of_data
from estimators.kernels.linear_map import transposed
from estimators.kernels.max_pool import PooledGradients, Window, at_maxima, max_pool, max_unpool, relu_backward
from estimators.kernels.saved_hooks import ReplacingMode

_RELUS = (nn.functional.relu, torch.relu, Tensor.relu)
_POOLS = (nn.functional.max_pool2d, torch.max_pool2d)


class PooledRelus(ReplacingMode):
    """Replaces 2d max pooling of a ReLU's output with this module's implementation, differentiable to any order."""

    def __init__(self) -> None:
        super().__init__()
        #: Maps the output of each ReLU to (input of the ReLU, version counter of the output).
        self._relus = WeakIdKeyDictionary()
        #: Maps the node of each ReLU's input to the pool.
        self.pools: dict[Node, Pool] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls the function or its replacement."""
        if func in _POOLS and args and self.replaces:
            before, version = self._relus.get(args[0], (None, 0))
            if before is not None and args[0].ndim == 4 and args[0]._version == version:
                window = Window.of(*args, **(kwargs or {}))
                return func(*args, **(kwargs or {})) if window is None else self._pool(before, args[0].detach(), window)
        result = func(*args, **(kwargs or {}))
        if func in _RELUS and args and result is not args[0] and result.requires_grad and self.replaces:
            self._relus[result] = args[0], result._version
        return result

    def _pool(self, before: Tensor, relu: Tensor, window: Window) -> Tensor:
        convolution = convolution_of_data(before)
        if convolution is not None:
            return conv_relu_pool(convolution, relu, window)
        result: Tensor = _MaxPool.apply(before, relu, window)
        self.pools[get_gradient_edge(before).node] = Pool(get_gradient_edge(result))
        return result


@dataclass(frozen=True, eq=False)
class Pool:
    """A max pool of a ReLU in the autograd graph."""

    edge: GradientEdge
    """Gradient edge of the pool's output."""

    def gradients(self, columns: Sequence[Tensor]) -> PooledGradients:
        """Gradients with respect to the ReLU's input, from several with respect to the pool's output [n, ...]."""
        node: Any = self.edge.node
        indices, pooled = (saved.detach() for saved in node.saved_tensors)
        return PooledGradients(columns, pooled, indices, node.window)


class _MaxPool(torch.autograd.Function):
    """The max pool of a ReLU's output as a function of the ReLU's input."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, relu: Tensor, window: Window) -> Tensor:
        pooled, indices = max_pool(relu, window)
        ctx.save_for_backward(indices, pooled)
        ctx.window = window
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        indices, pooled = ctx.saved_tensors
        return *transposed(_Maxima(ctx.window), (indices, pooled.detach()), gradient, (True,)), None, None


@dataclass(frozen=True, eq=False)
class _Maxima:
    """The output of the pool as a linear map of the ReLU's input. Constants: indices of the maxima, and the output."""

    window: Window
    inputs: int = 1

    def __call__(self, constants: tuple[Tensor, ...], inputs: tuple[Tensor | None, ...]) -> Tensor:
        (indices, pooled), (images,) = constants, inputs
        assert images is not None
        return relu_backward(at_maxima(images, indices), pooled)

    def transpose(
        self, constants: tuple[Tensor, ...], output: Tensor, wanted: tuple[bool, ...]
    ) -> tuple[Tensor | None, ...]:
        indices, pooled = constants
        return (max_unpool(relu_backward(output, pooled), indices, self.window),)

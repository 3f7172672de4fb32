"""Max pooling of a ReLU, differentiated past the ReLU: the same numbers, bit for bit, for half the memory.

Autograd keeps what the ReLU returned, as large as the layer before it, and 8 bytes for the place of every maximum. In
each derivative it writes a gradient of that size, in which one in four entries of a 2x2 pool is not zero, and reads and
writes all of them again for the ReLU. Whether the ReLU let the maximum of a window through is to be seen at the pooled
number already: a quarter of the comparisons, one large tensor less, and nothing large to keep.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
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

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The function's result, whatever computes it."""
        kwargs = dict(kwargs or {})
        if func in _POOLS and args and not kwargs.get("return_indices"):
            kwargs.pop("return_indices", None)
            return self._max_pool(func, *args, **kwargs)
        result = func(*args, **kwargs)
        if func in _RELUS and args and result.requires_grad and result is not args[0]:
            self._relus[result] = args[0], result._version
        return result

    def _max_pool(self, func: Callable[..., Tensor], relu: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        before, version = self._relus.get(relu, (None, 0))
        if before is None or relu._version != version or relu.ndim != 4:
            return func(relu, *args, **kwargs)
        pooled: Tensor = _MaxPool.apply(before, relu.detach(), _Pool.of(relu, *args, **kwargs))
        return pooled


@dataclass(frozen=True)
class _Pool:
    """What is pooled, and how."""

    shape: torch.Size
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
    ) -> "_Pool":
        """From the arguments of max_pool2d."""
        kernel = _pair(kernel_size)
        # An empty stride is torch's for that of the kernel.
        window = kernel, _pair(stride) if stride else kernel, _pair(padding), _pair(dilation), ceil_mode
        by_pixel = relu.is_contiguous(memory_format=torch.channels_last) and not relu.is_contiguous()
        return cls(relu.shape, torch.channels_last if by_pixel else torch.contiguous_format, window)


def _pair(value: int | list[int]) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


class _MaxPool(torch.autograd.Function):
    """Of a ReLU's output, as a function of the ReLU's input."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, relu: Tensor, pool: _Pool) -> Tensor:
        pooled, indices = _aten.max_pool2d_with_indices(relu, *pool.arguments)
        # Half the bytes; no layer has 2^31 pixels. Not pooled > 0: NaN goes through a ReLU, and so does its gradient.
        ctx.save_for_backward(indices.to(torch.int32), pooled <= 0)
        ctx.pool = pool
        return pooled  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        spread: Tensor = _Spread.apply(gradient, *ctx.saved_tensors, ctx.pool)
        return spread, None, None


class _Spread(torch.autograd.Function):
    """Every number to its maximum's place, those that the ReLU stopped to none; linear in the numbers."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, indices: Tensor, stopped: Tensor, pool: _Pool) -> Tensor:
        ctx.save_for_backward(indices, stopped)
        ctx.pool = pool
        # Of the pooled tensor the kernel reads shape and layout only.
        like = torch.empty(pool.shape, dtype=numbers.dtype, device=numbers.device, memory_format=pool.layout)
        passed = numbers.masked_fill(stopped, 0.0)
        result: Tensor = _aten.max_pool2d_with_indices_backward(passed, like, *pool.arguments, indices.long())
        return result

    @staticmethod
    def backward(ctx: Any, large: Tensor) -> tuple[Tensor, None, None, None]:
        found: Tensor = _Gather.apply(large, *ctx.saved_tensors, ctx.pool)
        return found, None, None, None


class _Gather(torch.autograd.Function):
    """What :class:`_Spread` is the transpose of."""

    @staticmethod
    def forward(ctx: Any, large: Tensor, indices: Tensor, stopped: Tensor, pool: _Pool) -> Tensor:
        ctx.save_for_backward(indices, stopped)
        ctx.pool = pool
        found = large.flatten(2).gather(2, indices.long().flatten(2)).view(indices.shape)
        return found.masked_fill_(stopped, 0.0)

    @staticmethod
    def backward(ctx: Any, numbers: Tensor) -> tuple[Tensor, None, None, None]:
        spread: Tensor = _Spread.apply(numbers, *ctx.saved_tensors, ctx.pool)
        return spread, None, None, None

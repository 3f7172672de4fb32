"""Detects half precision inside the model or the loss, and sets the dtype of tensors that a forward pass creates."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class HalfPrecisionRefused(TorchDispatchMode):
    """Raises ValueError if an operation inside the context returns a floating-point tensor of fewer than 32 bits.

    Operations that return several tensors are not checked, because a cast, which returns one, comes before them.

    The context sees every operation, also those without a gradient and those that autocast inserts.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls the operation and checks the dtype of its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point() and result.dtype.itemsize < 4:
            raise ValueError(
                f"the model or loss computes in {result.dtype} (operation {func}), expected torch.float32 or"
                " torch.float64, since rounding errors of other types can exceed second derivatives: remove"
                " torch.autocast and casts such as .half() from forward and loss"
            )
        return result


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Tensors that a forward pass creates, such as initial states, then have this dtype too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

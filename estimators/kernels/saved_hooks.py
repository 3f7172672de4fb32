"""The base of modes that replace operations, except in parts of a model that control what autograd saves."""

from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode


class ReplacingMode(TorchFunctionMode):
    """A mode that replaces operations only if `replaces` is true.

    A checkpointed block runs again in the backward pass, outside this mode, and must save the same tensors both times.
    So no operation of the block is replaced. The block is recognised by its hooks for saved tensors.
    """

    _hooks: Any = None

    def __enter__(self) -> Self:
        """Enters the mode and remembers the hooks around it."""
        self._hooks = _saved_tensors_hooks()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @property
    def replaces(self) -> bool:
        """Whether the hooks for saved tensors are those from outside the mode."""
        return bool(_saved_tensors_hooks() == self._hooks)


def _saved_tensors_hooks() -> Any:
    """The innermost pair of hooks for saved tensors; None without hooks."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True)

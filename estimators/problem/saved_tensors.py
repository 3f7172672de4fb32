"""The tensors that autograd saves for backward passes."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SavedTensors:
    """Iterable over the tensors that operations have saved and whose graphs still exist."""

    def __init__(self) -> None:
        self._references: list[weakref.ref[Tensor]] = []

    def __iter__(self) -> Iterator[Tensor]:
        return (tensor for reference in self._references if (tensor := reference()) is not None)

    def add(self, tensor: Tensor) -> Tensor:
        """Records a tensor and returns the tensor that the operation should save."""
        # Without detach(), a graph that is differentiated again would refer to itself, and the garbage collector cannot
        # detect that cycle. Autograd restores the history.
        saved = tensor.detach()
        self._references.append(weakref.ref(saved))
        return saved


@contextmanager
def recording_saved() -> Iterator[SavedTensors]:
    """Records the tensors that operations inside the context save for a backward pass."""
    saved = SavedTensors()
    with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda tensor: tensor):
        yield saved

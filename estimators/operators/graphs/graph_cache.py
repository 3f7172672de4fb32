"""Keeps graphs between products, within a memory budget."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from estimators.operators.graphs.chunk_graph import ChunkGraph
from estimators.operators.graphs.loss_choices import LossChoices
from estimators.problem.checks import LossFunction
from estimators.problem.samples import Pair
from estimators.problem.saved_tensors import recording_saved

# Default for the bytes of kept graphs: 6,000 images in the paper's CNN, at 0.17 MB per image.
DEFAULT_MEMORY_BUDGET = 2**30


@dataclass
class GraphMemory:
    """Maximum and current number of bytes that an operator and its views hold in kept graphs."""

    budget: int
    held: int = 0


class GraphCache:
    """Keeps the graphs of the first chunks of a pass over the data, as many as fit into the memory budget.

    Graphs are valid for one state of the model and are dropped when it changes. Outside `keeping`, nothing is kept.
    """

    def __init__(self, model: nn.Module, memory: GraphMemory) -> None:
        self.memory = memory
        self.graphs: list[ChunkGraph] = []
        self._losses: dict[int, LossFunction] = {}
        self._choices = LossChoices()
        self._model = model
        self._state: tuple[Any, ...] | None = None
        self._bytes = 0
        self._keeping, self._full = False, memory.budget == 0

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keeps graphs inside the context and releases them on exit. Nested contexts have no effect."""
        if self._keeping:
            yield
            return
        self._keeping = True
        try:
            yield
        finally:
            self._keeping = False
            self._release()

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """The context of one pass. Drops graphs of an earlier state of the model, and all graphs after an error."""
        state = _state(self._model) if self._keeping else None
        if state is None or state != self._state:
            self._release()
            self._state = state
        try:
            yield
        except BaseException:
            # The check of the loss may not have been completed for kept chunks.
            self._release()
            raise

    def build(self, chunk: Pair, graph_of: Callable[[], ChunkGraph]) -> tuple[ChunkGraph, bool]:
        """Returns the graph of the next chunk, and whether it is kept: it and all graphs before it must fit."""
        if not self._keeping or self._full:
            return graph_of(), False
        with recording_saved() as saved:
            graph = graph_of()
        size = _bytes_of([*saved, *graph.held], self._model, chunk)
        # If the forward pass modified a buffer, earlier graphs may have saved the previous values.
        unchanged = _state(self._model) == self._state
        self._full = not unchanged or self.memory.held + size > self.memory.budget
        if not self._full:
            self.graphs.append(graph)
            self._bytes += size
            self.memory.held += size
        return graph, not self._full

    def loss_of(
        self, position: int, outputs: Tensor, targets: Tensor, choose: Callable[[], LossFunction]
    ) -> LossFunction:
        """The loss function of a chunk. With kept graphs, it is chosen once per state of the model.

        Otherwise outputs and targets are compared with those of the last product, which waits for the device.
        """
        if position not in self._losses:
            self._losses[position] = self._choices.get(position, outputs, targets, choose)
        return self._losses[position]

    def _release(self) -> None:
        self.graphs, self._losses = [], {}
        self.memory.held -= self._bytes
        self._bytes, self._full, self._state = 0, self.memory.budget == 0, None


def _bytes_of(tensors: Sequence[Tensor], model: nn.Module, chunk: Pair) -> int:
    """Bytes of the tensors' storages, each counted once, except storages of the model and of the caller's data."""
    excluded = [*model.parameters(), *model.buffers()]
    # A tensor smaller than its storage is a slice of the caller's tensor. Other tensors may be copies on the
    # device.
    excluded += [part for part in chunk if part.nbytes < part.untyped_storage().nbytes()]
    addresses = {tensor.untyped_storage().data_ptr() for tensor in excluded}
    storages = {s.data_ptr(): s.nbytes() for tensor in tensors for s in _storages(tensor)}
    return sum(size for address, size in storages.items() if address not in addresses)


def _storages(tensor: Tensor) -> list[torch.UntypedStorage]:
    """The storages of a tensor. A sparse gradient, as of an embedding, has two."""
    parts = [tensor._indices(), tensor._values()] if tensor.layout is torch.sparse_coo else [tensor]
    return [part.untyped_storage() for part in parts]


def _state(model: nn.Module) -> tuple[Any, ...]:
    """A value that changes with parameters, buffers and modes. It detects new storage and autograd version changes."""
    tensors = [*model.parameters(), *model.buffers()]
    values = [(id(t), t.data_ptr(), None if t.is_inference() else t._version, t.requires_grad) for t in tensors]
    return (*values, *((id(module), module.training) for module in model.modules()))

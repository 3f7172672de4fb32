"""The graphs that are kept between products, within a memory budget."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from estimators.operators.chunk_graph import ChunkGraph
from estimators.problem.samples import Pair
from estimators.problem.saved_tensors import recording_saved

# Bytes of kept graphs by default: those of 6,000 images in the paper's CNN, at 0.17 MB per image.
DEFAULT_MEMORY_BUDGET = 2**30


@dataclass
class GraphMemory:
    """The bytes that an operator and its views may hold in kept graphs, and those they hold."""

    budget: int
    held: int = 0


class GraphCache:
    """The graphs of the first chunks of a pass over the data, as many as fit into the memory.

    They are valid for one state of the model and dropped when it changes. Without `keeping` nothing is kept.
    """

    def __init__(self, model: nn.Module, memory: GraphMemory) -> None:
        self.memory = memory
        self.graphs: list[ChunkGraph] = []
        self._model = model
        self._state: tuple[Any, ...] | None = None
        self._bytes = 0
        self._keeping = self._full = False

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keeps graphs inside the context and releases them at its end. Nested contexts have no effect."""
        if self._keeping or self.memory.budget == 0:
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
        """The context of a pass over the data: drops graphs of an earlier state of the model, and all on an error."""
        if self._keeping and (state := _state(self._model)) != self._state:
            self._release()
            self._state = state
        try:
            yield
        except BaseException:
            # The loss of kept chunks may not have been checked to its end.
            self._release()
            raise

    def build(self, chunk: Pair, graph_of: Callable[[], ChunkGraph]) -> tuple[ChunkGraph, bool]:
        """The graph of the next chunk, and whether it is kept: if it fits, and all graphs before it did."""
        if not self._keeping or self._full:
            return graph_of(), False
        with recording_saved() as saved:
            graph = graph_of()
        size = _bytes_of([*saved, *graph.held], self._model, chunk)
        # If the forward pass changed a buffer, earlier graphs may have saved its previous values.
        unchanged = _state(self._model) == self._state
        self._full = not unchanged or self.memory.held + size > self.memory.budget
        if not self._full:
            self.graphs.append(graph)
            self._bytes += size
            self.memory.held += size
        return graph, not self._full

    def _release(self) -> None:
        self.graphs = []
        self.memory.held -= self._bytes
        self._bytes, self._full, self._state = 0, False, None


def _bytes_of(tensors: Sequence[Tensor], model: nn.Module, chunk: Pair) -> int:
    """Bytes of the tensors' storages, each once, without those of the model and of the caller's data."""
    excluded = [*model.parameters(), *model.buffers()]
    # A part that is smaller than its storage is a slice of the caller's tensor. Others may be copies on the device.
    excluded += [part for part in chunk if part.nbytes < part.untyped_storage().nbytes()]
    addresses = {tensor.untyped_storage().data_ptr() for tensor in excluded}
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(size for address, size in storages.items() if address not in addresses)


def _state(model: nn.Module) -> tuple[Any, ...]:
    """A value that changes with parameters, buffers and modes: all that autograd's versions show, and new storage."""
    tensors = [*model.parameters(), *model.buffers()]
    values = [(id(t), t.data_ptr(), None if t.is_inference() else t._version, t.requires_grad) for t in tensors]
    return (*values, *((id(module), module.training) for module in model.modules()))

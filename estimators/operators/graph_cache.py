"""Graphs of gradients: what a Hessian-vector product differentiates, and how many of them are kept between products."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from estimators.problem.samples import Pair

# Of kept graphs, unless the caller says otherwise: all of 6,000 images in the paper's CNN, at 0.17 MB an image.
DEFAULT_MEMORY_BUDGET = 2**30


class ChunkGraph(Protocol):
    """What a chunk contributes to products of a matrix, differentiated as often as its graph is kept."""

    @property
    def samples(self) -> int:
        """Samples of the chunk."""
        ...

    @property
    def held(self) -> Sequence[Tensor]:
        """Tensors that it holds itself, beside those its operations saved."""
        ...

    def add_product(self, vector: Sequence[Tensor], result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Does result += weight * matrix @ vector, both shaped like the parameters. The graph dies unless kept."""
        ...

    def add_gradient(self, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Does result += weight * the gradient of the chunk's loss, shaped like the parameters."""
        ...


@dataclass(frozen=True)
class GradientGraph:
    """The gradient of a chunk's loss with the graph to differentiate it by. Building it takes 3F."""

    samples: int
    """Samples of the chunk."""
    gradients: dict[int, Tensor]
    """By the parameter's position, where the loss depends on it."""
    parameters: Sequence[Tensor]
    """All that are differentiated by."""

    @classmethod
    def of(cls, loss: Tensor, parameters: Sequence[Tensor], samples: int) -> "GradientGraph":
        """The graph of a loss that has just been evaluated."""
        if not loss.requires_grad:
            return cls(samples, {}, parameters)
        # Not loss.backward(create_graph=True): it ties parameters to the graph in a cycle that leaks.
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        return cls(samples, {i: g for i, g in enumerate(gradients) if g is not None}, parameters)

    @property
    def held(self) -> Sequence[Tensor]:
        """The gradients."""
        return list(self.gradients.values())

    def add_product(self, vector: Sequence[Tensor], result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Does result += weight * H @ vector, both shaped like the parameters: 6F. The graph dies unless kept."""
        depending = {position: gradient for position, gradient in self.gradients.items() if gradient.requires_grad}
        if not depending:  # other rows of H are zero
            return
        # grad_outputs makes this the gradient of the dot product of (11) without computing the dot product.
        products = torch.autograd.grad(
            list(depending.values()),
            self.parameters,
            [vector[position] for position in depending],
            retain_graph=keep,
            allow_unused=True,
        )
        for total, product in zip(result, products, strict=True):
            if product is not None:
                total.add_(product, alpha=weight)

    def add_gradient(self, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Does result += weight * the gradient, which is there."""
        for position, gradient in self.gradients.items():
            result[position].add_(gradient.detach(), alpha=weight)


class GraphMemory:
    """Bytes that an operator and its subsets may hold in kept graphs, and how many they hold."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held = 0


class KeptGraphs:
    """The graphs of the first chunks of a pass over the data: as many as fit into the memory.

    They hold for a state of the model. ``graphs`` is empty when that state has passed.
    """

    def __init__(self, model: nn.Module, memory: GraphMemory) -> None:
        self._model, self._memory = model, memory
        self.graphs: list[ChunkGraph] = []
        self._state: tuple[Any, ...] | None = None
        self._bytes = 0
        self._full = False

    def begin(self) -> None:
        """Call before a product: drops the graphs if the model has changed since they were built."""
        state = _state(self._model)
        if state != self._state:
            self.release()
            self._state = state

    def build(self, chunk: Pair, graph_of: Callable[[], ChunkGraph]) -> tuple[ChunkGraph, bool]:
        """The graph of the next chunk, and whether it is kept: if it fits, and all before it did."""
        if self._full:
            return graph_of(), False
        with recording_saved() as saved:
            graph = graph_of()
        size = _bytes_of([*saved, *graph.held], self._model, chunk)
        # A forward pass that changes a buffer may change what an earlier graph has saved.
        unchanged = _state(self._model) == self._state
        self._full = not unchanged or self._memory.held + size > self._memory.budget
        if not self._full:
            self.graphs.append(graph)
            self._bytes += size
            self._memory.held += size
        return graph, not self._full

    def release(self) -> None:
        """Gives the memory back."""
        self.graphs = []
        self._memory.held -= self._bytes
        self._bytes, self._full, self._state = 0, False, None


class Saved:
    """The tensors that operations have kept for a backward pass."""

    def __init__(self) -> None:
        self._kept: list[weakref.ref[Tensor]] = []

    def __iter__(self) -> Iterator[Tensor]:
        """Those that are still kept: a node that nothing leads to any more has let go of its own."""
        return (tensor for kept in self._kept if (tensor := kept()) is not None)

    def add(self, tensor: Tensor) -> Tensor:
        """Notes what a node is to keep, and returns it."""
        # Detached, or a graph that is differentiated again would hold itself in a cycle that no collector sees.
        # Autograd puts the history back.
        kept = tensor.detach()
        self._kept.append(weakref.ref(kept))
        return kept


@contextmanager
def recording_saved() -> Iterator[Saved]:
    """The tensors that operations within keep for a backward pass."""
    saved = Saved()

    with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda tensor: tensor):
        yield saved


def _bytes_of(tensors: Sequence[Tensor], model: nn.Module, chunk: Pair) -> int:
    """Bytes of the tensors' storages, each once; those of the model and of the caller's data take no more memory."""
    not_ours = [*model.parameters(), *model.buffers()]
    # A chunk that is a slice lies in the caller's tensor; one that is not may have been copied to the device.
    not_ours += [part for part in chunk if part.nbytes < part.untyped_storage().nbytes()]
    excluded = {tensor.untyped_storage().data_ptr() for tensor in not_ours}
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(size for address, size in storages.items() if address not in excluded)


def _state(model: nn.Module) -> tuple[Any, ...]:
    """Equal as long as parameters, buffers and modes are: it sees whatever autograd sees, and new storage."""
    tensors = [*model.parameters(), *model.buffers()]
    values = [(id(t), t.data_ptr(), None if t.is_inference() else t._version, t.requires_grad) for t in tensors]
    return (*values, *((id(module), module.training) for module in model.modules()))

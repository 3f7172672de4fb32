"""Curvature matrices of a mean loss, multiplied chunk by chunk."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from estimators.operators.graphs.blocks import WholeGraphs, chosen_parameters
from estimators.operators.graphs.chunk_graph import ChunkGraph
from estimators.operators.graphs.graph_cache import DEFAULT_MEMORY_BUDGET, GraphCache, GraphMemory
from estimators.operators.linear_operator import LinearOperator
from estimators.problem.checks import LossFunction, check_mode, evaluate_loss, evaluate_model
from estimators.problem.loss.mean_check import MeanCheck
from estimators.problem.loss.targets import check_targets
from estimators.problem.problem import Problem
from estimators.problem.samples import Batches, Pair, samples_in_fraction

Operator = TypeVar("Operator", bound="CurvatureOperator")


class CurvatureOperator(LinearOperator):
    """A matrix that is a mean over samples. A subclass builds the graph of one chunk.

    See `estimators.HessianOperator` for arguments and costs.
    """

    #: Whether products contain second derivatives of the network.
    _needs_second_derivatives = True

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        batches: Batches,
        chunk_size: int | None = None,
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
        validate: bool = True,
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}, expected at least 1, or None for a default")
        if not memory_budget >= 0:
            raise ValueError(f"memory_budget is {memory_budget}, expected bytes, at least 0: 0 keeps no graphs")
        problem = Problem.of(model, loss_fn, batches, validate)
        with problem.measuring():
            chunk_size = chunk_size or problem.default_chunk_size()
            if validate:
                self._validate(problem, chunk_size)
        self._set_up(problem, chunk_size, GraphMemory(memory_budget))
        self._mean_checked = not validate

    def _validate(self, problem: Problem, chunk_size: int) -> None:
        """Raises ValueError if the matrix cannot be measured."""
        problem.check_first_chunk(chunk_size)
        if self._needs_second_derivatives:
            problem.check_second_derivatives()
        self._check_loss(problem)

    def _set_up(
        self, problem: Problem, chunk_size: int, memory: GraphMemory, parent: "CurvatureOperator | None" = None
    ) -> None:
        self.problem = problem
        #: Maximum number of samples differentiated at a time. `default_chunk_size` computes the default.
        self.chunk_size = chunk_size
        self._parameters = list(problem.parameters.values())
        self._graphs = GraphCache(problem.model, memory)
        self._parent = parent
        self._whole: WholeGraphs | None = None
        self._samples_seen = 0
        self._mean_checked = False

    def _view(self, kind: type[Operator], problem: Problem, chunk_size: int) -> Operator:
        """Returns an operator that shares this one's memory budget and adds to its count of products."""
        view = kind.__new__(kind)
        view._set_up(problem, chunk_size, self._graphs.memory, parent=self)
        # With another number of samples the last chunk differs, so the loss is checked again.
        view._mean_checked = self._mean_checked and problem is self.problem
        return view

    @abstractmethod
    def _graph_of(self, outputs: Tensor, loss: Tensor, loss_fn: LossFunction, targets: Tensor) -> ChunkGraph:
        """Returns the graph to differentiate for a chunk, after its forward pass. ``loss_fn`` computed ``loss``."""

    def _check_loss(self, problem: Problem) -> None:
        """Raises ValueError if the matrix is not defined for this loss."""

    @property
    def size(self) -> int:
        """Number of entries of the parameters that require grad."""
        return self.problem.size

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype, float32 or float64."""
        return self.problem.dtype

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return self.problem.device

    @property
    def products(self) -> float:
        """Number of products so far. A product with a subset counts as its share of the samples."""
        return self._samples_seen / self.problem.count

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, samples={self.problem.count}, chunk_size={self.chunk_size},"
            f" dtype={self.dtype}, device={self.device})"
        )

    def subset(self, fraction: float) -> Self:
        """Returns the matrix over the first ceil(fraction * n) of the n samples, which should be in random order.

        Its products are also counted by this operator, by their share of the samples.

        Raises:
            ValueError: if fraction is outside (0, 1].
        """
        return self._view(type(self), self.problem.subset(fraction), self.chunk_size)

    def in_chunks(self, fraction: float) -> Self:
        """Returns the same matrix in chunks of at most ceil(fraction * n) of the n samples.

        Returns this operator itself if its chunks are small enough. Products are also counted by this operator.

        Raises:
            ValueError: if fraction is outside (0, 1].
        """
        largest = samples_in_fraction(fraction, self.problem.count)
        return self if self.chunk_size <= largest else self._view(type(self), self.problem, largest)

    def restricted(self, names: Iterable[str]) -> Self:
        """Returns the diagonal block of some parameters, by name. Vectors have ``model.parameters()`` order.

        Products differentiate only with respect to these parameters, so most blocks cost less than the whole matrix:
        the block of a last layer needs no derivative of the layers before it. While this operator keeps graphs, the
        block uses them. Products are also counted by this operator, each as a whole product.

        Raises:
            ValueError: if names is empty or has a name that is not a parameter that requires grad.
        """
        chosen = chosen_parameters(self.problem.parameters, names)
        block = self._view(type(self), replace(self.problem, parameters=chosen), self.chunk_size)
        block._mean_checked = self._mean_checked
        block._whole = WholeGraphs.of(self._graphs, self.problem.parameters, chosen, self._whole)
        return block

    def keeping_graphs(self) -> AbstractContextManager[None]:
        """A context that keeps graphs between products, up to ``memory_budget``, and releases them on exit.

        Products still follow the model: after an optimizer step, load_state_dict or a change of mode, the graphs are
        built again. Like autograd, the operator cannot detect in-place writes through ``.data`` or NumPy. Do not change
        the data inside the context.
        """
        return self._graphs.keeping()

    def chunkwise(self, vector: Tensor, update: Callable[[Tensor, Tensor], Tensor], max_chunks: int) -> Tensor:
        """Passes over at most ``max_chunks`` chunks, updates the vector after each, and returns the last vector [size].

        ``update(vector, product)`` gets the product [size] of the current chunk's matrix with the vector. It returns
        the next vector. The pass counts as a product, by its share of the samples.

        Raises:
            ValueError: as `matvec`.
        """
        self._check_vectors(vector, (self.size,))
        seen = 0
        with self._differentiating():
            for graph, _, kept in islice(self._chunk_graphs(), max_chunks):
                product = torch.zeros_like(vector)
                graph.add_product(self._unflatten(vector), self._unflatten(product), 1.0, keep=kept)
                vector = update(vector, product)
                seen += graph.samples
        self._count(seen)
        return vector

    def gradient(self) -> Tensor:
        """Returns the gradient [size] of the mean loss, for 3F, or 0 with kept graphs. It is not counted as a product.

        Raises:
            ValueError: if the model is now in train mode, or the loss is not a mean over samples.
        """
        with self._differentiating():
            total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
            parts = self._unflatten(total)
            for graph, weight, kept in self._chunk_graphs():
                graph.add_gradient(parts, weight, keep=kept)
        return total

    def _multiply(self, vectors: list[Tensor]) -> list[Tensor]:
        with self._differentiating():
            # Autograd cannot save inference tensors.
            vectors = [v.clone() if v.is_inference() else v.detach().contiguous() for v in vectors]
            results = [torch.zeros(self.size, dtype=self.dtype, device=self.device) for _ in vectors]
            pairs = [(self._unflatten(v), self._unflatten(r)) for v, r in zip(vectors, results, strict=True)]
            for graph, weight, kept in self._chunk_graphs():
                for position, (vector, result) in enumerate(pairs, start=1):
                    graph.add_product(vector, result, weight, keep=kept or position < len(pairs))
        self._count(len(vectors) * self.problem.count)
        return results

    @contextmanager
    def _differentiating(self) -> Iterator[None]:
        """The context of one pass over the data in the current state of the model."""
        check_mode(self.problem.model)
        whole = nullcontext() if self._whole is None else self._whole.cache.one_pass()
        with whole, self._graphs.one_pass(), self.problem.measuring():
            yield

    def _chunk_graphs(self) -> Iterator[tuple[ChunkGraph, float, bool]]:
        """Yields the graph of each chunk, the chunk's share of the samples, and whether the graph is kept."""
        count, kept = self.problem.count, list(self._graphs.graphs)
        shared = [] if self._whole is None else self._whole.kept()
        borrowed = len(shared) > len(kept)
        kept = shared if borrowed else kept
        yield from ((graph, graph.samples / count, True) for graph in kept)
        if sum(graph.samples for graph in kept) == count:
            return
        mean_check = None if self._mean_checked else MeanCheck(self.problem.loss_fn)
        for position, chunk in islice(enumerate(self.problem.chunks(self.chunk_size)), len(kept), None):
            to_check: list[Tensor] | None = None if mean_check is None else []
            build = partial(self._graph, position, chunk, to_check)
            # After graphs of the whole matrix, none fits: the budget is shared, and the whole keeps the first chunks.
            graph, keep = (build(), False) if borrowed else self._graphs.build(chunk, build)
            if mean_check is not None and to_check is not None:
                # Not while `build` records saved tensors: vmap refuses to run then, and the check would evaluate the
                # loss of every sample in a loop.
                mean_check.add(to_check.pop(), chunk[1])
            yield graph, graph.samples / count, keep
        if mean_check is not None:
            mean_check.conclude()
        self._mean_checked = True

    def _graph(self, position: int, chunk: Pair, to_check: list[Tensor] | None) -> ChunkGraph:
        """The graph of a chunk. Appends the outputs to ``to_check`` if the loss is not yet known to be a mean."""
        inputs, targets = chunk
        with self.problem.fast_kernels():
            outputs = evaluate_model(self.problem.model, inputs)
            if to_check is not None:
                check_targets(self.problem.loss_fn, outputs, targets)
            loss_fn = self._graphs.loss_of(
                position, outputs, targets, partial(self.problem.precise_loss, outputs, targets)
            )
            loss = evaluate_loss(loss_fn, outputs, targets)
        if to_check is not None:
            to_check.append(outputs.detach())
        return self._graph_of(outputs, loss, loss_fn, targets)

    def _count(self, samples: int) -> None:
        self._samples_seen += samples
        if self._parent is not None:
            self._parent._count(samples)

    def _unflatten(self, vector: Tensor) -> list[Tensor]:
        """Views of a flat vector [size], shaped like the parameters."""
        parts = torch.split(vector, [parameter.numel() for parameter in self._parameters])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]

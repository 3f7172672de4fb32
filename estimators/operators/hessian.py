"""The Hessian of a mean loss, known by its products with a vector."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Self

import torch
from torch import Tensor, nn

from estimators.kernels.convolutions import LeanConvolutions
from estimators.kernels.relu_pool import PooledRelus
from estimators.operators.graph_cache import DEFAULT_MEMORY_BUDGET, ChunkGraph, GradientGraph, GraphMemory, KeptGraphs
from estimators.problem.checks import (
    LossFunction,
    MeanCheck,
    check_deterministic,
    check_mode,
    checked_parameters,
    evaluate,
)
from estimators.problem.chunking import default_chunk_size
from estimators.problem.isolation import measuring
from estimators.problem.memory_format import works_by_pixel
from estimators.problem.samples import Batches, Samples, samples_in_fraction


class HessianOperator:
    """The Hessian [size, size] of ``model``'s mean loss over all samples of ``batches``.

    Vectors are flat, in ``model.parameters()`` order over the parameters that require grad; one that does not take
    part in the loss has zero rows. Products are taken where the parameters stand at that moment, in the mode the
    model is in, by differentiating twice (equations (9)-(11) of the paper; Pearlmutter, 1994), chunk by chunk with
    each chunk weighted by its samples. The model, random streams and flags are left bitwise as found.

    With F the arithmetic of a forward pass over the data, a product costs 9F: 3F for the graph of the gradient and 6F
    to differentiate it. k vectors at once share the graph: 6F + 3F/k each. The algorithms keep graphs between their
    products, 6F each but for the first; ``with op.keeping_graphs():`` around several algorithms keeps them for all.
    Neither changes a bit of any product. Memory beside the kept graphs: one chunk's graph, and vectors.

    Args:
        model: in the mode to be measured in; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples, in nats or whatever the loss is in. Checked on
            single samples during the first pass over the data.
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs in a fixed order; each chunk is
            moved to the model's device.
        chunk_size: samples differentiated at a time, at most (no chunk spans two batches). None: chosen by model,
            input shape and kind of device so that a chunk fits a CPU's cache; see ``chunk_size``.
        memory_budget: bytes of graphs kept between the products of an algorithm, subsets included: those of as many
            chunks as fit, the others are built anew for each product. 0 keeps none. The default, 1 GiB, holds 6,000
            images in the paper's CNN (0.17 MB each).

    Raises:
        ValueError: for what cannot be measured rightly; the message names the fix.

    >>> op = HessianOperator(nn.Linear(3, 1), nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> op @ torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensor([2., 2., 2., 2.])
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        batches: Batches,
        chunk_size: int | None = None,
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(f"chunk_size is {chunk_size}, expected at least 1, or None for a default")
        if not memory_budget >= 0:
            raise ValueError(f"memory_budget is {memory_budget}, expected bytes, at least 0: 0 keeps no graphs")
        self._parameters = checked_parameters(model)
        self._model, self._loss_fn = model, loss_fn
        check_mode(model)
        with measuring(model, self.device):
            self._samples = Samples(batches)
            first_two = self._samples.first(2, self.device)
            #: Samples differentiated at a time; a pure function of model, input shape and kind of device by default.
            self.chunk_size = chunk_size or default_chunk_size(model, loss_fn, *first_two)
            of_some = partial(self._of_some, targets=first_two[1])
            self._samples.by_pixel = works_by_pixel(model, first_two[0], of_some)
            self._check_first_chunk()
        self._limit = self._samples.count
        self._parent: HessianOperator | None = None
        self._samples_seen = 0
        self._mean_checked = False
        self._memory = GraphMemory(memory_budget)
        self._kept: KeptGraphs | None = None

    @property
    def size(self) -> int:
        """Number of parameters that require grad."""
        return sum(parameter.numel() for parameter in self._parameters)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype, float32 or float64."""
        return self._parameters[0].dtype

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return self._parameters[0].device

    @property
    def products(self) -> float:
        """Passes over this operator's data so far; those of its subsets count by their share of the samples."""
        return self._samples_seen / self._limit

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, samples={self._limit}, chunk_size={self.chunk_size},"
            f" dtype={self.dtype}, device={self.device})"
        )

    def subset(self, fraction: float) -> Self:
        """The Hessian over the first ceil(fraction * n) of the n samples, which are expected in random order.

        Its products count in this operator too, as the share of the samples that they pass over.

        Raises:
            ValueError: if fraction is outside (0, 1].
        """
        subset = self._view()
        subset._limit, subset._mean_checked = samples_in_fraction(fraction, self._limit), False
        return subset

    def in_chunks(self, fraction: float) -> Self:
        """The same Hessian in chunks of at most ceil(fraction * n) of the n samples: itself where they are no larger.

        Its products count in this operator too.

        Raises:
            ValueError: if fraction is outside (0, 1].
        """
        largest = samples_in_fraction(fraction, self._limit)
        if self.chunk_size <= largest:
            return self
        view = self._view()
        view.chunk_size = largest
        return view

    def _view(self) -> Self:
        view = copy.copy(self)
        view._parent, view._samples_seen, view._kept = self, 0, None
        return view

    @contextmanager
    def keeping_graphs(self) -> Iterator[None]:
        """Within, graphs are kept between products, up to ``memory_budget``; at the end all are released.

        Within it, too, products are taken where the parameters stand: after an optimizer's step, load_state_dict or
        a change of mode the graphs are built anew. One kind of change would go unseen, as by autograd itself: values
        written in place through ``.data`` or NumPy. Leave the data as they are, too.
        """
        if self._kept is not None or self._memory.budget == 0:
            yield
            return
        self._kept = KeptGraphs(self._model, self._memory)
        try:
            yield
        finally:
            self._kept.release()
            self._kept = None

    def matvec(self, vector: Tensor) -> Tensor:
        """H @ vector, both [size]: 9F, or 6F where graphs are kept.

        Raises:
            ValueError: for a vector of the wrong shape, dtype or device; for a model since put in train mode; at the
                first product, for a loss that is no mean over samples.
        """
        self._check_vectors(vector, (self.size,))
        return self._products([vector])[0]

    def matmat(self, vectors: Tensor) -> Tensor:
        """H @ vectors, both [size, k]: k products that share their graphs, 6F + 3F/k each.

        Column i is bit for bit ``matvec(vectors[:, i])``. Takes memory for 3 k vectors, the result included.

        Raises:
            ValueError: as :meth:`matvec`; for no vectors.
        """
        columns = vectors.shape[1] if vectors.ndim == 2 and vectors.shape[1] else 1
        self._check_vectors(vectors, (self.size, columns))
        # Copies, each aligned like a vector of its own: kernels may round otherwise where they start elsewhere.
        return torch.stack(self._products([vectors[:, column].clone() for column in range(columns)]), dim=1)

    def chunkwise(self, vector: Tensor, move: Callable[[Tensor, Tensor], Tensor], most: int) -> Tensor:
        """A pass over the data, ``most`` chunks at most, in which the vector [size] moves: where it is at its end.

        After each chunk it goes to ``move(vector, product)``, with the product [size] of that chunk's Hessian and the
        vector. Takes what a product takes, and counts as one; as its share where not all chunks are passed over.

        Raises:
            ValueError: as :meth:`matvec`.
        """
        self._check_vectors(vector, (self.size,))
        seen = 0
        with self._differentiating():
            for graph, _, kept in islice(self._graphs(), most):
                product = torch.zeros_like(vector)
                graph.add_product(self._unflatten(vector), self._unflatten(product), 1.0, keep=kept)
                vector = move(vector, product)
                seen += graph.samples
        self._count(seen)
        return vector

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """H @ vectors: :meth:`matvec` of [size], :meth:`matmat` of [size, k]."""
        return self.matmat(vectors) if vectors.ndim == 2 else self.matvec(vectors)

    def gradient(self) -> Tensor:
        """The gradient [size] of the mean loss, as its graphs have it: free where they are kept, 3F where not.

        It is no product and counts as none.

        Raises:
            ValueError: for a model since put in train mode; for a loss that is no mean over samples.
        """
        with self._differentiating():
            total = torch.zeros(self.size, dtype=self.dtype, device=self.device)
            parts = self._unflatten(total)
            for graph, weight, kept in self._graphs():
                graph.add_gradient(parts, weight, keep=kept)
        return total

    def _products(self, vectors: list[Tensor]) -> list[Tensor]:
        with self._differentiating():
            # A clone only where autograd could not save the vector.
            vectors = [v.clone() if v.is_inference() else v.detach().contiguous() for v in vectors]
            results = [torch.zeros(self.size, dtype=self.dtype, device=self.device) for _ in vectors]
            pairs = [(self._unflatten(v), self._unflatten(r)) for v, r in zip(vectors, results, strict=True)]
            for graph, weight, kept in self._graphs():
                for position, (vector, result) in enumerate(pairs, start=1):
                    graph.add_product(vector, result, weight, keep=kept or position < len(pairs))
        self._count(len(vectors) * self._limit)
        return results

    @contextmanager
    def _differentiating(self) -> Iterator[None]:
        """One pass over the graphs, of the model as it stands."""
        check_mode(self._model)
        if self._kept is not None:
            self._kept.begin()
        with measuring(self._model, self.device):
            try:
                yield
            except BaseException:
                # What was kept may not have been checked to its end.
                if self._kept is not None:
                    self._kept.release()
                raise

    def _graphs(self) -> Iterator[tuple[ChunkGraph, float, bool]]:
        """The graph of each chunk, the chunk's share of the samples, and whether the graph is kept."""
        kept = [] if self._kept is None else list(self._kept.graphs)
        yield from ((graph, graph.samples / self._limit, True) for graph in kept)
        if sum(graph.samples for graph in kept) == self._limit:
            return
        mean_check = None if self._mean_checked else MeanCheck(self._loss_fn)
        chunks = self._samples.chunks(self.chunk_size, self.device, self._limit)
        for inputs, targets in islice(chunks, len(kept), None):
            graph, keeps = self._built(inputs, targets, mean_check)
            yield graph, graph.samples / self._limit, keeps
        if mean_check is not None:
            mean_check.conclude()
        self._mean_checked = True

    def _built(self, inputs: Tensor, targets: Tensor, mean_check: MeanCheck | None) -> tuple[ChunkGraph, bool]:
        def graph_of() -> ChunkGraph:
            return self._graph(inputs, targets, mean_check)

        return (graph_of(), False) if self._kept is None else self._kept.build((inputs, targets), graph_of)

    def _graph(self, inputs: Tensor, targets: Tensor, mean_check: MeanCheck | None = None) -> ChunkGraph:
        with LeanConvolutions(), PooledRelus():
            outputs, loss = evaluate(self._model, self._loss_fn, inputs, targets)
        if mean_check is not None:
            mean_check.add(outputs, targets)
        return self._graph_of(outputs, loss, targets)

    def _of_some(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """The gradient of some samples, and a product with any vector that singles out no parameter."""
        vector = torch.arange(1, self.size + 1, dtype=self.dtype, device=self.device).cos()
        gradient, product = torch.zeros_like(vector), torch.zeros_like(vector)
        graph = self._graph(inputs, targets)
        graph.add_gradient(self._unflatten(gradient), 1.0, keep=True)
        graph.add_product(self._unflatten(vector), self._unflatten(product), 1.0, keep=False)
        return [gradient, product]

    def _graph_of(self, outputs: Tensor, loss: Tensor, targets: Tensor) -> ChunkGraph:
        """What is differentiated for the products of one chunk, after its forward pass."""
        return GradientGraph.of(loss, self._parameters, len(outputs))

    def _count(self, samples: int) -> None:
        self._samples_seen += samples
        if self._parent is not None:
            self._parent._count(samples)

    def _unflatten(self, vector: Tensor) -> list[Tensor]:
        """Views of a flat vector [size], shaped like the parameters."""
        parts = torch.split(vector, [parameter.numel() for parameter in self._parameters])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters, strict=True)]

    def _check_vectors(self, vectors: Tensor, shape: tuple[int, ...]) -> None:
        found = (tuple(vectors.shape), vectors.dtype, vectors.device)
        expected = (shape, self.dtype, self.device)
        if found != expected:
            raise ValueError(
                f"the vector has shape, dtype and device {_describe(found)}, expected {_describe(expected)}:"
                f" make it with torch.zeros(op.size{', k' * (len(shape) - 1)}, dtype=op.dtype, device=op.device)"
            )

    def _check_first_chunk(self) -> None:
        inputs, targets = self._samples.first(self.chunk_size, self.device)
        check_deterministic(self._model, self._loss_fn, inputs, targets)
        with torch.no_grad():
            outputs, _ = evaluate(self._model, self._loss_fn, inputs, targets)
        mean_check = MeanCheck(self._loss_fn)
        mean_check.add(outputs, targets)
        mean_check.conclude()


def _describe(found: tuple[tuple[int, ...], torch.dtype, torch.device]) -> str:
    shape, dtype, device = found
    return f"{shape}, {dtype}, {device}"

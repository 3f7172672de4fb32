"""The base class of operators that transform another operator."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

import torch
from torch import Tensor

from estimators.operators.linear_operator import LinearOperator
from estimators.operators.protocols import SampledOperator, SymmetricOperator, has_samples, keeping_graphs


class WrappedOperator(LinearOperator):
    """A matrix of the size of ``op``, with one product of ``op`` per product.

    Products are counted by ``op``. Graphs are kept if ``op`` can keep them. `subset`, `in_chunks`, `chunkwise`
    and `gradient`, which coarse stages use, need an operator over samples.
    """

    def __init__(self, op: SymmetricOperator) -> None:
        self.op = op

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.op.size

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of vectors."""
        return self.op.dtype

    @property
    def device(self) -> torch.device:
        """The device of vectors."""
        return self.op.device

    @property
    def products(self) -> float:
        """Number of products of ``op`` so far."""
        return self.op.products

    @property
    def has_samples(self) -> bool:
        """Whether ``op`` has chunks of samples."""
        return has_samples(self.op)

    def keeping_graphs(self) -> AbstractContextManager[None]:
        """A context in which products of ``op`` reuse their graphs, if it has that context."""
        return keeping_graphs(self.op)

    def subset(self, fraction: float) -> Self:
        """The same transformation of the matrix over the first ceil(fraction * n) of the n samples.

        Raises:
            ValueError: if ``op`` has no samples, or fraction is outside (0, 1].
        """
        return self._like(self._sampled().subset(fraction))

    def in_chunks(self, fraction: float) -> Self:
        """The same matrix in chunks of at most this fraction of the samples.

        Raises:
            ValueError: if ``op`` has no samples, or fraction is outside (0, 1].
        """
        return self._like(self._sampled().in_chunks(fraction))

    def gradient(self) -> Tensor:
        """The gradient [size] of the mean loss in the coordinates of this matrix.

        Raises:
            ValueError: if ``op`` has no loss.
        """
        return self._gradient(self._sampled().gradient())

    def chunkwise(self, vector: Tensor, update: Callable[[Tensor, Tensor], Tensor], max_chunks: int) -> Tensor:
        """Updates the vector after each of at most ``max_chunks`` chunks and returns the last vector [size].

        ``update(vector, product)`` gets the product of the current chunk's matrix; see `estimators.HessianOperator`.

        Raises:
            ValueError: as `matvec`; if ``op`` has no samples.
        """
        self._check_vectors(vector, (self.size,))
        current = [vector]

        def step(inner: Tensor, product: Tensor) -> Tensor:
            current[0] = update(current[0], self._after(current[0], product))
            return self._before(current[0])

        self._sampled().chunkwise(self._before(vector), step, max_chunks)
        return current[0]

    def _multiply(self, vectors: list[Tensor]) -> list[Tensor]:
        if len(vectors) == 1:
            return [self._after(vectors[0], self.op.matvec(self._before(vectors[0])))]
        return self._multiply_block(vectors)

    def _multiply_block(self, vectors: list[Tensor]) -> list[Tensor]:
        matmat: Callable[[Tensor], Tensor] | None = getattr(self.op, "matmat", None)
        if matmat is None:
            return [self._multiply([vector])[0] for vector in vectors]
        products = matmat(torch.stack([self._before(vector) for vector in vectors], dim=1)).unbind(dim=1)
        return [self._after(vector, product) for vector, product in zip(vectors, products, strict=True)]

    def _like(self, op: SymmetricOperator) -> Self:
        """The same transformation of another operator of the same size."""
        raise NotImplementedError

    def _before(self, vector: Tensor) -> Tensor:
        """The vector that ``op`` is multiplied with."""
        return vector

    def _after(self, vector: Tensor, product: Tensor) -> Tensor:
        """The product of this matrix with a vector, given the product of ``op`` with `_before` of the vector."""
        raise NotImplementedError

    def _gradient(self, gradient: Tensor) -> Tensor:
        """The gradient in the coordinates of this matrix."""
        return gradient

    def _sampled(self) -> SampledOperator:
        if not isinstance(self.op, SampledOperator):
            raise ValueError(
                f"{type(self).__name__} has an operator of type {type(self.op).__name__} without chunks of samples,"
                " expected an operator like HessianOperator: wrap one, or pass coarse_fraction=None"
            )
        return self.op

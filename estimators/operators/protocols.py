"""Symmetric matrices known by their products with a vector: what algorithms ask of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor


class SymmetricOperator(Protocol):
    """What the algorithms need of a symmetric matrix A [size, size].

    Where an operator has them, they also use ``matmat(vectors)``, A @ vectors, both [size, k], and
    ``keeping_graphs()``, a context in which A does not change.
    """

    @property
    def size(self) -> int:
        """Rows of A."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the vectors it takes and returns."""
        ...

    @property
    def device(self) -> torch.device:
        """Of the vectors it takes and returns."""
        ...

    @property
    def products(self) -> float:
        """Products so far, fractions of the data added up."""
        ...

    def matvec(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size]."""
        ...

    def __matmul__(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size]."""
        ...


@runtime_checkable
class SampledOperator(SymmetricOperator, Protocol):
    """A mean over samples, of which a pass over the data can take a chunk at a time."""

    def gradient(self) -> Tensor:
        """Of what the matrix is the curvature of, [size]."""
        ...

    def in_chunks(self, fraction: float) -> Self:
        """The same matrix, its chunks at most such a share of the samples."""
        ...

    def chunkwise(self, vector: Tensor, move: Callable[[Tensor, Tensor], Tensor], most: int) -> Tensor:
        """A pass over the data, so many chunks at most, in which the vector moves after every chunk."""
        ...


def block_product(op: SymmetricOperator, vectors: Tensor) -> Tensor:
    """A @ vectors, both [size, k]: at once where the operator can, column by column where it has ``matvec`` only."""
    matmat = getattr(op, "matmat", None)
    if matmat is None:
        return torch.stack([op.matvec(vector) for vector in vectors.T.contiguous()], dim=1)
    product: Tensor = matmat(vectors)
    return product


def keeping_graphs(op: SymmetricOperator) -> AbstractContextManager[None]:
    """The operator's own context for products of one unchanged matrix, or one that does nothing."""
    own = getattr(op, "keeping_graphs", None)
    context: AbstractContextManager[None] = nullcontext() if own is None else own()
    return context

"""The interface of symmetric matrices that algorithms use, defined by matrix-vector products."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, Protocol, Self, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

Algorithm = TypeVar("Algorithm", bound=Callable[..., Any])


class SymmetricOperator(Protocol):
    """A symmetric matrix A [size, size].

    Algorithms also use two optional methods: ``matmat(vectors)``, A @ vectors, both [size, k], and
    ``keeping_graphs()``, a context in which products reuse their graphs.
    """

    @property
    def size(self) -> int:
        """Number of rows."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of vectors."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of vectors."""
        ...

    @property
    def products(self) -> float:
        """Number of products so far. A product over part of the data counts as its share."""
        ...

    def matvec(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size]."""
        ...

    def __matmul__(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size]."""
        ...


@runtime_checkable
class SampledOperator(SymmetricOperator, Protocol):
    """The curvature of a mean over samples, whose data can be processed one chunk at a time."""

    def gradient(self) -> Tensor:
        """The gradient [size] of the mean loss."""
        ...

    def subset(self, fraction: float) -> Self:
        """The matrix over the first samples. Its products also count here, by their share of the samples."""
        ...

    def in_chunks(self, fraction: float) -> Self:
        """The same matrix in chunks of at most this fraction of the samples."""
        ...

    def chunkwise(self, vector: Tensor, update: Callable[[Tensor, Tensor], Tensor], max_chunks: int) -> Tensor:
        """Updates the vector after each of at most ``max_chunks`` chunks and returns the last vector."""
        ...


def has_samples(op: SymmetricOperator) -> bool:
    """Whether an operator has chunks of samples. One that wraps another operator has them if that one does."""
    return isinstance(op, SampledOperator) and bool(getattr(op, "has_samples", True))


def block_product(op: SymmetricOperator, vectors: Tensor) -> Tensor:
    """A @ vectors, both [size, k], with ``matmat`` if the operator has it, otherwise column by column."""
    matmat = getattr(op, "matmat", None)
    if matmat is None:
        return torch.stack([op.matvec(vector) for vector in vectors.T.contiguous()], dim=1)
    product: Tensor = matmat(vectors)
    return product


def keeping_graphs(op: SymmetricOperator) -> AbstractContextManager[None]:
    """The operator's ``keeping_graphs()`` if it has that method, otherwise a context that does nothing."""
    own = getattr(op, "keeping_graphs", None)
    context: AbstractContextManager[None] = nullcontext() if own is None else own()
    return context


def without_autocast(algorithm: Algorithm) -> Algorithm:
    """Decorates an algorithm so that its own sums and products keep the precision of the operator's vectors."""

    @wraps(algorithm)
    def exact(op: SymmetricOperator, *args: Any, **kwargs: Any) -> Any:
        if not torch.amp.is_autocast_available(op.device.type):
            return algorithm(op, *args, **kwargs)
        with torch.autocast(op.device.type, enabled=False):
            return algorithm(op, *args, **kwargs)

    return cast("Algorithm", exact)

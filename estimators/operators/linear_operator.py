"""The base class of operators. It checks vectors and multiplies them one by one or in blocks."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator


class LinearOperator(SymmetricOperator, ABC):
    """A symmetric matrix [size, size] defined by its products. A subclass implements ``_multiply``."""

    @abstractmethod
    def _multiply(self, vectors: list[Tensor]) -> list[Tensor]:
        """Returns the products with contiguous vectors, each [size]."""

    def matvec(self, vector: Tensor) -> Tensor:
        """A @ vector, both [size].

        Raises:
            ValueError: for a vector of the wrong shape, dtype or device.
        """
        self._check_vectors(vector, (self.size,))
        return self._multiply([vector])[0]

    def matmat(self, vectors: Tensor) -> Tensor:
        """Returns A @ vectors [size, k] for vectors [size, k]. The k products share their graphs.

        Column i is bit-identical to ``matvec(vectors[:, i])``. Needs memory for 3 k vectors, including the result.

        Raises:
            ValueError: as `matvec`; for k = 0.
        """
        columns = vectors.shape[1] if vectors.ndim == 2 and vectors.shape[1] else 1
        self._check_vectors(vectors, (self.size, columns))
        # Copies have the memory alignment of single vectors. With a different alignment, kernels may round differently.
        return torch.stack(self._multiply([vectors[:, column].clone() for column in range(columns)]), dim=1)

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Calls `matvec` for one vector [size] and `matmat` for several, [size, k]."""
        return self.matmat(vectors) if vectors.ndim == 2 else self.matvec(vectors)

    def _check_vectors(self, vectors: Tensor, shape: tuple[int, ...]) -> None:
        found = (tuple(vectors.shape), vectors.dtype, vectors.device)
        expected = (shape, self.dtype, self.device)
        if found != expected:
            raise ValueError(
                f"the vector has shape, dtype and device {_listed(found)}, expected {_listed(expected)}:"
                f" make it with torch.zeros(op.size{', k' * (len(shape) - 1)}, dtype=op.dtype, device=op.device)"
            )


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))

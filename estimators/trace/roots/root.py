"""The interface of the roots of a loss's Hessian with respect to the outputs."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class LossRoot(ABC):
    """S [n, outputs, count] for the n samples of a chunk, by column. A column has the shape of the outputs."""

    count: int
    """Number of columns."""
    signs: int
    """Random signs per sample in a combination. Equals the number of outputs per sample, not ``count``."""

    @abstractmethod
    def column(self, index: int) -> tuple[Tensor, Tensor | float]:
        """Returns one column [n, ...] and the sign of its squared norms: [n], or one for all samples."""

    @abstractmethod
    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """Returns S e for signs e [n, ``signs``] as vectors [n, ...], each with the sign of its squared norms."""


class Float64Root(LossRoot):
    """A root that is computed in float64, with columns and combinations rounded to ``dtype``."""

    def __init__(self, root: LossRoot, dtype: torch.dtype) -> None:
        self._root, self._dtype = root, dtype
        self.count, self.signs = root.count, root.signs

    def column(self, index: int) -> tuple[Tensor, Tensor | float]:
        """As `LossRoot.column`."""
        column, sign = self._root.column(index)
        return column.to(self._dtype), sign

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """As `LossRoot.combinations`."""
        return [(vector.to(self._dtype), sign) for vector, sign in self._root.combinations(signs.double())]


def split_by_sign(vector: Tensor, negative: Tensor) -> list[tuple[Tensor, float]]:
    """The entries of a vector that are not negative, and the negative ones if there are any, each with its sign."""
    parts = [(torch.where(negative, 0.0, vector), 1.0)]
    return [*parts, (torch.where(negative, vector, 0.0), -1.0)] if bool(negative.any()) else parts

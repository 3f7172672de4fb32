"""Roots of Hessians that are diagonal in the outputs: squared errors and other losses of single outputs."""

import math

import torch
from torch import Tensor

from estimators.trace.roots.root import LossRoot, split_by_sign


class SquaredErrorRoot(LossRoot):
    """Root of (2 / K) I for K outputs per sample, because the mean squared error is also a mean over outputs."""

    def __init__(self, outputs: Tensor) -> None:
        self._outputs = outputs
        self.count = self.signs = outputs[0].numel()

    def column(self, index: int) -> tuple[Tensor, float]:
        """A multiple of a unit vector."""
        column = torch.zeros_like(self._outputs).reshape(len(self._outputs), -1)
        column[:, index] = math.sqrt(2.0 / self.count)
        return column.reshape(self._outputs.shape), 1.0

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """A multiple of the signs."""
        return [(math.sqrt(2.0 / self.count) * signs.reshape(self._outputs.shape), 1.0)]


class DiagonalRoot(LossRoot):
    """sqrt|d| for the diagonal d [n, ...] of a loss that is a sum over outputs, such as binary cross-entropy.

    Synchronizes with the device, to count the nonzero columns.

    Args:
        diagonal: d, in float64. Negative entries have columns of sign -1.
        dtype: dtype of the columns.
    """

    def __init__(self, diagonal: Tensor, dtype: torch.dtype) -> None:
        self._shape, values = diagonal.shape, diagonal.reshape(len(diagonal), -1)
        self._values, self._roots = values, values.abs().sqrt().to(dtype)
        self.signs = values.shape[1]
        #: Each sample's outputs by decreasing magnitude, so that columns that are zero for every sample can be dropped.
        self._order = values.abs().argsort(dim=1, descending=True)
        self.count = int((values != 0).sum(dim=1).amax())

    def column(self, index: int) -> tuple[Tensor, Tensor]:
        """A unit vector of each sample times the root of its entry, and the entry's sign."""
        output = self._order[:, index, None]
        column = torch.zeros_like(self._roots).scatter_(1, output, self._roots.gather(1, output))
        return column.reshape(self._shape), self._values.gather(1, output)[:, 0].sign()

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """The roots with the signs, in one vector for the positive entries and one for the negative ones."""
        return split_by_sign((self._roots * signs).reshape(self._shape), (self._values < 0).reshape(self._shape))

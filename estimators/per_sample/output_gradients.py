"""Gradients of several functions with respect to the output of one layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import Scratch
from estimators.kernels.max_pool import PooledGradients

Sign = Tensor | float


@dataclass(frozen=True, eq=False)
class Columns:
    """Gradients [n, ...] of several functions, one column each, with respect to a layer's output [n, ...]."""

    deltas: Sequence[Tensor] | PooledGradients
    signs: Sequence[Sign]
    """The sign of each column's norms: [n], or one for all samples."""
    total: int
    """Approximate total number of columns, including later ones; it selects the algorithm."""
    scratch: Scratch
    """Working memory, shared with other calls."""

    def __iter__(self) -> Iterator[Tensor]:
        if isinstance(self.deltas, PooledGradients):
            return map(self.deltas.dense, range(len(self.signs)))
        return iter(self.deltas)

    def entries(self) -> Iterator[Tensor]:
        """Yields the gradients without the zeros added by a max pool, which do not change sums."""
        if isinstance(self.deltas, PooledGradients):
            return (self.deltas.entries(column) for column in range(len(self.signs)))
        return iter(self.deltas)

    @property
    def samples(self) -> int:
        """The number of samples n."""
        some = self.deltas.columns if isinstance(self.deltas, PooledGradients) else self.deltas
        return len(some[0])

    def stacked(self, part: slice) -> Tensor:
        """The gradients [m, columns, ...] of a slice of m samples, in the memory format of the columns."""
        if isinstance(self.deltas, PooledGradients):
            deltas = [self.deltas.dense(column, part) for column in range(len(self.signs))]
        else:
            deltas = [delta[part] for delta in self.deltas]
        one = deltas[0]
        if len(deltas) == 1:
            return one.unsqueeze(1)
        if one.ndim == 4 and one.stride(1) == 1 and not one.is_contiguous():
            # In channels_last the channels of a pixel are adjacent, so the columns are stacked before the channels.
            deltas = [delta.permute(0, 2, 3, 1) for delta in deltas]
            shape = *deltas[0].shape[:3], len(deltas), one.shape[1]
            return torch.stack(deltas, dim=3, out=self.scratch.get("columns", shape, one)).permute(0, 3, 4, 1, 2)
        return torch.stack(deltas, dim=1, out=self.scratch.get("columns", (len(one), len(deltas), *one.shape[1:]), one))

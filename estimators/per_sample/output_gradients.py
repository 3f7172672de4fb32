"""What goes back through a network along several vectors, where one layer sees it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import Scratch
from estimators.kernels.max_pool import PooledGradients

Sign = Tensor | float


@dataclass(frozen=True, eq=False)
class Columns:
    """Gradients [n, ...] of several functions in the output [n, ...] of a layer."""

    deltas: Sequence[Tensor] | PooledGradients
    signs: Sequence[Sign]
    """Of the norms of each: [n], or one for all samples."""
    total: int
    """How many there will be in all, about: it decides how the norms are computed."""
    scratch: Scratch
    """What other calls have worked in, too."""

    def __iter__(self) -> Iterator[Tensor]:
        """The gradients, one after the other."""
        if isinstance(self.deltas, PooledGradients):
            return map(self.deltas.whole, range(len(self.signs)))
        return iter(self.deltas)

    def entries(self) -> Iterator[Tensor]:
        """The gradients without those places of a pool that are zero: they have the same sums."""
        if isinstance(self.deltas, PooledGradients):
            return (self.deltas.entries(column) for column in range(len(self.signs)))
        return iter(self.deltas)

    @property
    def samples(self) -> int:
        """The number n."""
        some = self.deltas.columns if isinstance(self.deltas, PooledGradients) else self.deltas
        return len(some[0])

    def some(self, part: slice) -> Tensor:
        """[m, columns, ...] of some samples, in the layout that they have."""
        if isinstance(self.deltas, PooledGradients):
            deltas = [self.deltas.whole(column, part) for column in range(len(self.signs))]
        else:
            deltas = [delta[part] for delta in self.deltas]
        one = deltas[0]
        if len(deltas) == 1:
            return one.unsqueeze(1)
        if one.ndim == 4 and one.stride(1) == 1 and not one.is_contiguous():
            # In memory, each pixel's channels of all columns side by side.
            by_pixel = [delta.permute(0, 2, 3, 1) for delta in deltas]
            shape = *by_pixel[0].shape[:3], len(deltas), one.shape[1]
            return torch.stack(by_pixel, dim=3, out=self.scratch.of("columns", shape, one)).permute(0, 3, 4, 1, 2)
        return torch.stack(deltas, dim=1, out=self.scratch.of("columns", (len(one), len(deltas), *one.shape[1:]), one))

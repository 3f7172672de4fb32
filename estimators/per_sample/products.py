"""||D_n U_n||^2 for every sample n and several matrices D_n: what per-sample weight gradients come down to."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from estimators.kernels.blocks import Scratch, blocks

# Matrices with fewer inputs are multiplied from the other side, where rows are plenty.
_NARROW = 64

Slices = Callable[[slice], Tensor]


def cheapest(positions: int, inputs: int, outputs: int, columns: int) -> Literal["product", "gram"]:
    """How ||D U||^2 of D [outputs, positions] and U [positions, inputs] takes fewer multiplications.

    "product": as it stands, once a column. "gram": <D'D, UU'>, where UU' serves all columns.

    >>> cheapest(positions=256, inputs=288, outputs=32, columns=9), cheapest(4, 4608, 512, 9)
    ('product', 'gram')
    """
    product = columns * positions * inputs * outputs
    gram = positions * positions * (inputs + columns * outputs)
    return "gram" if gram < product else "product"


class ProductNorms:
    """Norms of the products with matrices U [n, positions, inputs], which all columns share.

    Args:
        rows: U [m * groups, positions, inputs] of a slice of m samples, cheap beside its product with D: it is asked
            for again with other columns.
        inputs: of U.
        columns: how many matrices D of a sample are to come, about: it decides how they are multiplied, not what comes
            out.
        groups: matrices U of a sample.
    """

    def __init__(self, rows: Slices, inputs: int, columns: int, groups: int = 1) -> None:
        self._rows, self._inputs, self._columns, self._groups = rows, inputs, columns, groups
        self._gram: Tensor | None = None

    def of(self, deltas: Slices, samples: int, scratch: Scratch) -> Tensor:
        """[n, columns], float64, of D [m * groups, columns, outputs, positions] by slices of m samples."""
        one = deltas(slice(0, 1))
        _, columns, outputs, positions = one.shape
        if cheapest(positions, self._inputs, outputs, self._columns) == "gram":
            gram = self._grams(samples, one)
            parts = blocks(samples, columns * positions * (outputs + positions) * self._groups, one)
            found = [
                self._by_gram(deltas(part), gram[part.start * self._groups : part.stop * self._groups])
                for part in parts
            ]
        else:
            size = columns * outputs * (positions + self._inputs) + positions * self._inputs
            parts = blocks(samples, size * self._groups, one)
            found = [self._by_product(deltas(part), self._rows(part), scratch) for part in parts]
        by_group: Tensor = torch.cat(found).unflatten(0, (samples, self._groups))
        return by_group.sum(dim=1)

    def _by_product(self, deltas: Tensor, rows: Tensor, scratch: Scratch) -> Tensor:
        matrices, columns, outputs, _ = deltas.shape
        left = deltas.flatten(1, 2)
        if self._inputs < _NARROW:
            turned = scratch.of("product", (matrices, self._inputs, columns * outputs), deltas)
            product = torch.bmm(rows.mT, left.mT, out=turned).mT
        else:
            product = scratch.of("product", (matrices, columns * outputs, self._inputs), deltas)
            torch.bmm(left, rows, out=product)
        return squared_norms(product.unflatten(1, (columns, outputs)), dims=2)

    def _by_gram(self, deltas: Tensor, gram: Tensor) -> Tensor:
        return ((deltas.mT @ deltas) * gram.unsqueeze(1)).sum(dim=(2, 3), dtype=torch.float64)

    def _grams(self, samples: int, like: Tensor) -> Tensor:
        if self._gram is None:
            parts = blocks(samples, self._groups * like.shape[-1] * self._inputs, like)
            self._gram = torch.cat([rows @ rows.mT for rows in map(self._rows, parts)])
        return self._gram


def norms_at_places(
    rows: Slices, entries: Slices, places: Tensor, groups: int, inputs: int, scratch: Scratch
) -> Tensor:
    """||D_n U_n||^2 [n, columns], float64, of D_n with few entries, in the same places in every column.

    Instead of a D full of zeros, the rows of U are gathered that its entries meet, for every output apart.

    Args:
        rows: U [m * groups, positions, inputs] of a slice of m samples.
        entries: [m, outputs, columns, entries] of a slice of m samples.
        places: [n, outputs, entries], the position of each.
        groups: matrices U of a sample; each output belongs to one.
        inputs: of U.
        scratch: to work in.
    """
    samples, outputs, count = places.shape
    found = []
    for part in blocks(samples, outputs * count * inputs, places):
        table, left = rows(part), entries(part).flatten(0, 1)
        matrix = torch.arange(len(table), device=table.device).repeat_interleave(outputs // groups)
        where = places[part].flatten(0, 1).long() + (matrix * table.shape[1]).unsqueeze(1)
        met = scratch.of("rows met", (where.numel(), inputs), table)
        torch.index_select(table.reshape(-1, inputs), 0, where.flatten(), out=met)
        product = scratch.of("product", (*left.shape[:2], inputs), table)
        torch.bmm(left, met.view(-1, count, inputs), out=product)
        found.append(squared_norms(product, dims=2).unflatten(0, (-1, outputs)).sum(dim=1))
    return torch.cat(found)


def squared_norms(values: Tensor, dims: int = 1) -> Tensor:
    """Float64, shaped like the first ``dims`` dimensions of the values: over all the others."""
    values = values.unsqueeze(-1) if values.ndim == dims else values
    norms: Tensor = torch.linalg.vector_norm(values, dim=tuple(range(dims, values.ndim)))
    return norms.double().square()

"""sum over columns of sign ||D_n U_n||^2, for every sample n: what per-sample weight gradients come down to."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

Sign = Tensor | float

# A processor's matrix product is at full speed from about so many rows on: the columns of small layers are put side
# by side. Matrices with fewer inputs than _NARROW are multiplied from the other side, where rows are plenty.
_ROWS = 320
_NARROW = 64
# Bytes of patches and products that are formed at a time: what a processor's cache holds, and its allocator hands out
# again without asking the system for new pages, which took longer than the multiplications. Accelerators want more.
_BLOCK = {"cpu": 4 * 2**20}
_BLOCK_ON_ACCELERATORS = 256 * 2**20

Rows = Callable[[slice], Tensor]


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
    """The sums for matrices U [n, positions, inputs] that all columns share, formed a few samples at a time.

    Args:
        rows: U [m * groups, positions, inputs] of a slice of m samples, cheap beside its product with D: it is asked
            for again with other columns.
        inputs: of U.
        groups: matrices a sample.
        columns: how many matrices D are to come, about: it decides how they are multiplied, not what comes out.
    """

    def __init__(self, rows: Rows, inputs: int, columns: int, groups: int = 1) -> None:
        self._rows, self._inputs, self._columns, self._groups = rows, inputs, columns, groups
        self._waiting: list[Sign] = []
        self._buffer: Tensor | None = None
        self._gram: Tensor | None = None
        self._total: Tensor | float = 0.0

    def add(self, delta: Tensor, sign: Sign) -> None:
        """One more column: D [n * groups, outputs, positions] and the sign of its norms, [n] or one for all."""
        _, outputs, positions = delta.shape
        if self.one_by_one(outputs, positions):
            self._multiply(delta.unsqueeze(1), [sign])
        elif cheapest(positions, self._inputs, outputs, self._columns) == "gram":
            self._multiply_grams(delta, sign)
        else:
            self._wait(delta, sign, together=min(self._columns, _ROWS // outputs))

    def one_by_one(self, outputs: int, positions: int) -> bool:
        """Whether columns are multiplied each by itself, as they stand."""
        if cheapest(positions, self._inputs, outputs, self._columns) == "gram":
            return False
        return self._inputs < _NARROW or 2 * outputs > _ROWS or self._columns == 1

    def add_pieces(self, delta: Callable[[slice], Tensor], samples: int, sign: Sign) -> None:
        """One more column of those that are :meth:`one_by_one`, as a function of a slice of the samples."""
        first = delta(slice(0, 1))
        size = first.shape[2] * (first.shape[1] + self._inputs)
        parts = [part for part, _ in self._blocks(samples, first, size)]
        self._count(torch.cat([self._norms(delta(part).unsqueeze(1), self._rows(part))[:, 0] for part in parts]), sign)

    def take(self) -> Tensor | float:
        """The sums [n], float64, of the columns since they were last taken; 0.0 of none."""
        self._flush()
        total, self._total = self._total, 0.0
        return total

    def _wait(self, delta: Tensor, sign: Sign, together: int) -> None:
        n, outputs, positions = delta.shape
        if self._buffer is None:
            by_position = delta.stride(1) < delta.stride(2)
            shape = (n, positions, together, outputs) if by_position else (n, together, outputs, positions)
            buffer = delta.new_empty(shape)
            #: [n, columns, outputs, positions], in the order of memory that the gradients come in.
            self._buffer = buffer.permute(0, 2, 3, 1) if by_position else buffer
        self._buffer[:, len(self._waiting)] = delta
        self._waiting.append(sign)
        if len(self._waiting) == together:
            self._flush()

    def _flush(self) -> None:
        if self._waiting and self._buffer is not None:
            self._multiply(self._buffer[:, : len(self._waiting)], self._waiting)
            self._waiting = []

    def _multiply(self, deltas: Tensor, signs: list[Sign]) -> None:
        """For D [n, columns, outputs, positions] at once."""
        _, columns, outputs, positions = deltas.shape
        size = max(positions, columns * outputs) * self._inputs
        blocks = self._blocks(len(deltas) // self._groups, deltas, size)
        norms = torch.cat([self._norms(deltas[part], self._rows(samples)) for samples, part in blocks])
        for index, sign in enumerate(signs):
            self._count(norms[:, index], sign)

    def _norms(self, deltas: Tensor, rows: Tensor) -> Tensor:
        """||D_n U_n||^2 [n, columns]."""
        n, columns = deltas.shape[:2]
        if self._inputs < _NARROW:
            assert columns == 1
            return squared_norms(rows.mT @ deltas[:, 0].mT).unsqueeze(1)
        products = deltas.flatten(1, 2) @ rows
        return squared_norms(products.reshape(n * columns, -1)).reshape(n, columns)

    def _multiply_grams(self, delta: Tensor, sign: Sign) -> None:
        if self._gram is None:
            size = delta.shape[2] * self._inputs
            parts = (self._rows(samples) for samples, _ in self._blocks(len(delta) // self._groups, delta, size))
            self._gram = torch.cat([rows @ rows.mT for rows in parts])
        self._count(((delta.mT @ delta) * self._gram).sum(dim=(1, 2), dtype=torch.float64), sign)

    def _count(self, norms: Tensor, sign: Sign) -> None:
        self._total = self._total + sign * norms.reshape(-1, self._groups).sum(dim=1)

    def _blocks(self, samples: int, like: Tensor, size: int) -> Iterator[tuple[slice, slice]]:
        """Some samples, and their matrices, groups included; each matrix takes ``size`` numbers like those."""
        block = _BLOCK.get(like.device.type, _BLOCK_ON_ACCELERATORS)
        step = max(1, block // (size * self._groups * like.element_size()))
        for start in range(0, samples, step):
            stop = min(start + step, samples)
            yield slice(start, stop), slice(start * self._groups, stop * self._groups)


def squared_norms(values: Tensor) -> Tensor:
    """[n], float64, of values [n, ...]."""
    norms: Tensor = torch.linalg.vector_norm(values.reshape(len(values), -1), dim=1)
    return norms.double().square()

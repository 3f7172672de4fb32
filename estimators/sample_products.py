"""sum over columns of sign ||D_n U_n||^2, for every sample n: what per-sample weight gradients come down to."""

from typing import Literal

import torch
from torch import Tensor

Sign = Tensor | float

# A processor's matrix product is at full speed from about so many rows on: the columns of small layers are put side
# by side. Matrices with fewer inputs than _NARROW are multiplied from the other side, where rows are plenty.
_ROWS = 320
_NARROW = 64
# Bytes of products that are formed at a time: what a processor's cache holds. Accelerators want more.
_PRODUCTS = {"cpu": 4 * 2**20}
_PRODUCTS_ON_ACCELERATORS = 256 * 2**20


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
    """The sums for matrices U [n, positions, inputs] that all columns share.

    Args:
        rows: U.
        outputs: rows of the matrices D [n, outputs, positions] to come.
        columns: how many of them, about: it decides how they are multiplied, not what comes out.
    """

    def __init__(self, rows: Tensor, outputs: int, columns: int) -> None:
        self._rows = rows
        _, positions, inputs = rows.shape
        self._gram = rows @ rows.mT if cheapest(positions, inputs, outputs, columns) == "gram" else None
        self._narrow = inputs < _NARROW
        alone = self._narrow or self._gram is not None
        #: Columns that are multiplied together.
        self._together = 1 if alone else max(1, min(columns, _ROWS // outputs))
        self._waiting: list[Sign] = []
        self._buffer: Tensor | None = None
        self._total = rows.new_zeros(len(rows), dtype=torch.float64)

    def add(self, delta: Tensor, sign: Sign) -> None:
        """One more column: D [n, outputs, positions] and the sign of its norms, [n] or one for all."""
        if self._gram is not None:
            self._total += sign * ((delta.mT @ delta) * self._gram).sum(dim=(1, 2), dtype=torch.float64)
        elif self._together == 1:
            self._multiply(delta.unsqueeze(1), [sign])
        else:
            self._wait(delta, sign)

    def take(self) -> Tensor:
        """The sums [n], float64, of the columns since they were last taken."""
        self._flush()
        total, self._total = self._total, torch.zeros_like(self._total)
        return total

    def _wait(self, delta: Tensor, sign: Sign) -> None:
        if self._buffer is None:
            self._buffer = delta.new_empty(len(delta), self._together, *delta.shape[1:])
        self._buffer[:, len(self._waiting)] = delta
        self._waiting.append(sign)
        if len(self._waiting) == self._together:
            self._flush()

    def _flush(self) -> None:
        if self._waiting and self._buffer is not None:
            self._multiply(self._buffer[:, : len(self._waiting)], self._waiting)
            self._waiting = []

    def _multiply(self, deltas: Tensor, signs: list[Sign]) -> None:
        """For D [n, columns, outputs, positions] at once, a few samples at a time."""
        size = deltas[0, :, :, 0].numel() * self._rows.shape[2] * deltas.element_size()
        step = max(1, _PRODUCTS.get(deltas.device.type, _PRODUCTS_ON_ACCELERATORS) // size)
        pairs = zip(deltas.split(step), self._rows.split(step), strict=True)
        norms = torch.cat([self._norms(*pair) for pair in pairs])
        for index, sign in enumerate(signs):
            self._total += sign * norms[:, index]

    def _norms(self, deltas: Tensor, rows: Tensor) -> Tensor:
        """||D_n U_n||^2 [n, columns]."""
        n, columns = deltas.shape[:2]
        if self._narrow:
            assert columns == 1
            return squared_norms(rows.mT @ deltas[:, 0].mT).unsqueeze(1)
        products = deltas.flatten(1, 2) @ rows
        return squared_norms(products.reshape(n * columns, -1)).reshape(n, columns)


def squared_norms(values: Tensor) -> Tensor:
    """[n], float64, of values [n, ...]."""
    norms: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norms.double().square()

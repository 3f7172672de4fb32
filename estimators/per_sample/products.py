"""||D_n U_n||^2 for every sample n and several matrices D_n, which are the norms of per-sample weight gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import Scratch, blocks

# With fewer inputs, the rows of D U would be short. Then U'D' is computed instead.
_NARROW = 64

Slices = Callable[[slice], Tensor]


@dataclass(frozen=True)
class InputMatrices:
    """Matrices U [positions, inputs] built from a layer's inputs, ``groups`` per sample."""

    rows: Slices
    """U [m * groups, positions, inputs] of a slice of m samples. Called repeatedly; cheap compared to products."""
    inputs: int
    groups: int = 1


def gram_is_cheaper(positions: int, inputs: int, outputs: int, columns: int) -> bool:
    """Whether <D'D, UU'>, with one UU' for all columns, takes fewer multiplications than D U for every column."""
    return positions * positions * (inputs + columns * outputs) < columns * positions * inputs * outputs


class ProductNorms:
    """Norms of products with matrices U shared by all columns.

    Args:
        matrices: U.
        columns: approximate number of matrices D per sample. It selects the algorithm and does not affect the result.
    """

    def __init__(self, matrices: InputMatrices, columns: int) -> None:
        self._matrices, self._columns = matrices, columns
        self._gram: Tensor | None = None

    def norms(self, deltas: Slices, samples: int, scratch: Scratch) -> Tensor:
        """Norms [n, columns], float64. ``deltas`` maps m samples to D [m * groups, columns, outputs, positions]."""
        inputs, groups = self._matrices.inputs, self._matrices.groups
        one = deltas(slice(0, 1))
        _, columns, outputs, positions = one.shape
        if gram_is_cheaper(positions, inputs, outputs, self._columns):
            gram = self._grams(samples, one)
            parts = blocks(samples, columns * positions * (outputs + positions) * groups, one)
            found = [_by_gram(deltas(part), gram[part.start * groups : part.stop * groups]) for part in parts]
        else:
            size = columns * outputs * (positions + inputs) + positions * inputs
            parts = blocks(samples, size * groups, one)
            found = [_by_product(deltas(part), self._matrices.rows(part), scratch) for part in parts]
        by_group: Tensor = torch.cat(found).unflatten(0, (samples, groups))
        return by_group.sum(dim=1)

    def _grams(self, samples: int, like: Tensor) -> Tensor:
        if self._gram is None:
            parts = blocks(samples, self._matrices.groups * like.shape[-1] * self._matrices.inputs, like)
            self._gram = torch.cat([rows @ rows.mT for rows in map(self._matrices.rows, parts)])
        return self._gram


def _by_product(deltas: Tensor, rows: Tensor, scratch: Scratch) -> Tensor:
    (matrices, columns, outputs, _), inputs = deltas.shape, rows.shape[-1]
    left = deltas.flatten(1, 2)
    if inputs < _NARROW:
        transposed = scratch.get("product", (matrices, inputs, columns * outputs), deltas)
        product = torch.bmm(rows.mT, left.mT, out=transposed).mT
    else:
        product = scratch.get("product", (matrices, columns * outputs, inputs), deltas)
        torch.bmm(left, rows, out=product)
    return squared_norms(product.unflatten(1, (columns, outputs)), dims=2)


def _by_gram(deltas: Tensor, gram: Tensor) -> Tensor:
    return ((deltas.mT @ deltas) * gram.unsqueeze(1)).sum(dim=(2, 3), dtype=torch.float64)


def norms_at_positions(matrices: InputMatrices, entries: Slices, positions: Tensor, scratch: Scratch) -> Tensor:
    """||D_n U_n||^2 [n, columns], float64, for sparse D_n with nonzero entries at the same positions in every column.

    For each output, gathers the rows of U that its entries multiply.

    Args:
        matrices: U. Each output belongs to one group.
        entries: maps a slice of m samples to the entries [m, outputs, columns, entries].
        positions: [n, outputs, entries], the position of each entry.
        scratch: working memory.
    """
    inputs = matrices.inputs
    samples, outputs, count = positions.shape
    found = []
    for part in blocks(samples, outputs * count * inputs, positions):
        table, left = matrices.rows(part), entries(part).flatten(0, 1)
        matrix = torch.arange(len(table), device=table.device).repeat_interleave(outputs // matrices.groups)
        index = positions[part].flatten(0, 1).long() + (matrix * table.shape[1]).unsqueeze(1)
        gathered = scratch.get("gathered rows", (index.numel(), inputs), table)
        torch.index_select(table.reshape(-1, inputs), 0, index.flatten(), out=gathered)
        product = scratch.get("product", (*left.shape[:2], inputs), table)
        torch.bmm(left, gathered.view(-1, count, inputs), out=product)
        found.append(squared_norms(product, dims=2).unflatten(0, (-1, outputs)).sum(dim=1))
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class Factors:
    """Per-sample weight gradients D U [n, outputs, inputs]."""

    left: Tensor
    """D [n, outputs, positions], or the positions of the ones if D has unit vectors as columns: int [n, positions]."""
    right: Tensor
    """U [n, positions, inputs]."""


def norms_of_sum(parts: Sequence[Factors], outputs: int) -> Tensor | None:
    """||sum of D U||^2 [n], float64, over the uses of a weight. None if forming the sum takes fewer operations.

    The scalar product of two gradients is <D_i'D_j, U_i U_j'>. With tied embeddings of a large vocabulary, the
    gradients would be the largest tensors.
    """
    right = torch.cat([part.right for part in parts], dim=1)
    _, positions, inputs = right.shape
    # Indices need no multiplications on either way.
    dense = sum(part.left.shape[2] for part in parts if part.left.ndim == 3)
    if dense**2 * outputs + positions**2 * inputs > (dense + len(parts)) * outputs * inputs:
        return None
    left = torch.cat([torch.cat([_left_gram(a.left, b.left, right) for b in parts], dim=2) for a in parts], dim=1)
    return (left * (right @ right.mT)).sum(dim=(1, 2), dtype=torch.float64).clamp(min=0.0)


def _left_gram(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """D_a'D_b [n, positions of a, positions of b]."""
    if a.ndim == 2 and b.ndim == 2:
        return (a.unsqueeze(2) == b.unsqueeze(1)).to(like.dtype)
    if a.ndim == 3 and b.ndim == 3:
        return a.mT @ b
    if b.ndim == 2:
        return _left_gram(b, a, like).mT
    return b.gather(1, a.unsqueeze(2).expand(-1, -1, b.shape[2]))


def squared_norms(values: Tensor, dims: int = 1) -> Tensor:
    """Squared norms over all dimensions except the first ``dims``, float64."""
    values = values.unsqueeze(-1) if values.ndim == dims else values
    norms: Tensor = torch.linalg.vector_norm(values, dim=tuple(range(dims, values.ndim)))
    return norms.double().square()

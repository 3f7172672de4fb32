"""Roots of any Hessian, by eigendecompositions of its blocks."""

import math

import torch
from torch import Tensor

from estimators.trace.roots.output_hessian import as_blocks, from_blocks
from estimators.trace.roots.root import LossRoot


class EigenRoot(LossRoot):
    """U sqrt|L| with the eigenvalues L and eigenvectors U of each diagonal block of d2l_n/dz_n2.

    If the loss is not convex in the outputs, the column of a negative eigenvalue has sign -1. Synchronizes with the
    device once, to count the nonzero columns.

    Args:
        blocks: [n, positions, C, C]; their dtype is the precision of the loss.
        outputs: [n, ...], for shape and dtype of the columns.
        dim: the dimension of the C outputs of a block. None: one block of all outputs.
    """

    def __init__(self, blocks: Tensor, outputs: Tensor, dim: int | None) -> None:
        self._outputs, self._dim = outputs, dim
        matrices = blocks.double()
        finite = matrices.isfinite().all(dim=3).all(dim=2)
        values, vectors = torch.linalg.eigh(torch.where(finite[..., None, None], matrices, 0.0))
        # Eigenvalues below the rounding of the loss are indistinguishable from zero.
        rounding = 8.0 * torch.finfo(blocks.dtype).eps * values.abs().amax(dim=2, keepdim=True)
        values = torch.where(values.abs() > rounding, values, 0.0)
        # Sorted by magnitude, so that columns that are zero for every sample come last and can be dropped.
        order = values.abs().argsort(dim=2, descending=True)
        values = values.gather(2, order)
        self._rank = int((values != 0).any(dim=1).any(dim=0).sum())
        self.count, self.signs = blocks.shape[1] * self._rank, blocks.shape[1] * blocks.shape[2]
        values = torch.where(finite[..., None], values, math.nan)[:, :, : self._rank].to(outputs.dtype)
        vectors = vectors.gather(3, order.unsqueeze(2).expand_as(vectors))
        self._vectors, self._values = vectors[..., : self._rank].to(outputs.dtype), values
        self._has_negative = bool((values < 0).any())

    def column(self, index: int) -> tuple[Tensor, Tensor | float]:
        """An eigenvector of each sample times the root of its eigenvalue, and the eigenvalue's sign."""
        position, index = divmod(index, self._rank)
        values = self._values[:, position, index]
        columns = self._vectors.new_zeros(self._vectors.shape[:3])
        columns[:, position] = self._vectors[:, position, :, index] * values.abs().sqrt().unsqueeze(1)
        return from_blocks(columns, self._outputs, self._dim), values.sign()

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """The products of the signs with the symmetric roots of the positive and of the negative part."""
        # The symmetric root does not depend on the choice of eigenvectors of a repeated eigenvalue.
        by_block = as_blocks(signs.reshape(self._outputs.shape), self._dim)
        weights = self._values.abs().sqrt() * (self._vectors.mT @ by_block.unsqueeze(3)).squeeze(3)
        parts = [(self._values < 0, -1.0)] if self._has_negative else []
        return [
            (
                from_blocks(
                    (self._vectors @ torch.where(chosen, weights, 0.0).unsqueeze(3)).squeeze(3),
                    self._outputs,
                    self._dim,
                ),
                sign,
            )
            for chosen, sign in [(~(self._values < 0), 1.0), *parts]
        ]

"""Ritz pairs of a Krylov space, and what they say of the largest eigenvalue."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What convergence asks for, in units of the tolerance where no other is said; tried on Hessians of networks in training
# (benchmarks/lambda_max.py) and on matrices over subsampled rows.
_ERROR = 0.5
# Without a coarse stage. Two eigenvalues w apart, the upper one with a share r of the start much smaller than the lower
# one's, look like one with residual r w. For a random start r < 1/m has probability 2/(pi m): without a margin, one
# start in ten called the second of two eigenvalues 1% apart converged to 0.1%.
_RESIDUAL = 0.1
# And the second Ritz pair has settled, its residual being less than this share of the gap. A start at an eigenvector is
# an invariant subspace but for its random part, which shows what else there is as the second pair, and slowly. Without
# this 17% of the starts at the second eigenvector were called converged, with it none of 150.
_SETTLED = 0.1
# After a coarse stage, which has seen what is near the top, in place of both: a looser bound.
_RESIDUAL_AFTER_COARSE = 10.0


@dataclass(frozen=True)
class Ritz:
    """The Ritz pairs after a step of Lanczos."""

    values: Sequence[float]
    """Ascending; NaN where a product was not finite."""
    vectors: Tensor
    """[k, k] float64: column i belongs to value i, in the Lanczos basis."""
    tridiagonal: Tensor
    """[k, k] float64."""
    beta: float
    """Norm of what the next basis vector would be."""
    invariant: bool
    """Is the subspace invariant, to rounding? Then no product can add to it."""

    @classmethod
    def of(
        cls, diagonal: Sequence[float], off_diagonal: Sequence[float], beta: float, rounding: float, full: bool
    ) -> "Ritz":
        """Solves the tridiagonal eigenproblem in float64 on the CPU; ``full``: the basis spans the whole space."""
        size = len(diagonal)
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if off_diagonal:
            sides = torch.tensor(off_diagonal, dtype=torch.float64)
            tridiagonal += torch.diag(sides, 1) + torch.diag(sides, -1)
        if not (torch.isfinite(tridiagonal).all() and math.isfinite(beta)):
            nothing = torch.full((size, size), math.nan, dtype=torch.float64)
            return cls([math.nan] * size, nothing, tridiagonal, math.nan, invariant=False)
        values, vectors = torch.linalg.eigh(tridiagonal)
        scale = float(values.abs().max())
        # Below ten units in the last place of the largest eigenvalue, the next basis vector would be rounding noise.
        invariant = full or beta <= 10.0 * rounding * scale
        return cls(values.tolist(), vectors, tridiagonal, beta, invariant)

    @property
    def finite(self) -> bool:
        """Whether all products were finite."""
        return all(math.isfinite(value) for value in self.values) and math.isfinite(self.beta)

    def residual(self, index: int) -> float:
        """The norm of A y - value y for a Ritz vector y: beta times its last component."""
        return self.beta * abs(float(self.vectors[-1, index]))

    @property
    def relative_residual(self) -> float:
        """Of the largest value; infinite where that is zero."""
        return self.residual(-1) / abs(self.values[-1]) if self.values[-1] else math.inf

    @property
    def error(self) -> float:
        """The usual distance from the largest eigenvalue.

        At most the residual, and residual^2 / gap with the gap taken to the next Ritz value. Where the residual lies
        along eigenvectors far below the next one, that is too much: then what is left to gain by how the last two steps
        went, since errors fall with the squares of the residuals.
        """
        residual = self.residual(-1)
        if len(self.values) == 1 or not self.finite:
            return residual
        gap = self.values[-1] - self.values[-2]
        bound = residual if residual >= gap else residual * residual / gap
        return min(bound, self._left_to_gain())

    def _left_to_gain(self) -> float:
        """The larger of what the last two steps lead to expect; infinite where a residual did not fall."""
        expected = []
        for size in range(max(1, len(self.values) - 2), len(self.values)):
            values, vectors = torch.linalg.eigh(self.tridiagonal[:size, :size])
            before = float(self.tridiagonal[size - 1, size] * vectors[-1, -1])
            gained = self.values[-1] - float(values[-1])
            ratio = (self.residual(-1) / before) ** 2 if before else math.inf
            expected.append(gained * ratio / (1.0 - ratio) if ratio < 1.0 else math.inf)
        return max(expected)

    def converged(self, tolerance: float, after_coarse: bool = False) -> bool:
        """Is the largest value within the tolerance, relative to itself? See :func:`estimators.eigenvalues.lanczos`.

        Args:
            tolerance: relative; with 0.0 an invariant subspace alone has converged.
            after_coarse: does the start come from a coarse stage?
        """
        if not self.finite:
            return False
        if self.invariant:
            return True
        if tolerance == 0.0 or len(self.values) == 1:
            return False
        near = self.error <= _ERROR * tolerance * abs(self.values[-1])
        if after_coarse:
            return near and self.relative_residual <= _RESIDUAL_AFTER_COARSE * tolerance
        settled = self.residual(-2) <= _SETTLED * (self.values[-1] - self.values[-2])
        return near and settled and self.relative_residual <= _RESIDUAL * tolerance

"""Ritz pairs of a Krylov subspace, and their convergence to the largest eigenvalue."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Bounds for convergence. Those called residual and error are in units of the tolerance. Tuned on Hessians of networks
# in training (benchmarks/lambda_max.py) and on matrices of subsampled data.
_ERROR = 0.5
# From a random start: two eigenvalues a relative w apart look like one with residual r w, r the ratio of the start's
# components along the upper and the lower one. r < 1/m has probability 2/(pi m). With a bound of 1, one start in ten
# counted the second of two eigenvalues 1% apart as converged to 0.1%.
_RESIDUAL = 0.1
# From a random start, as a share of the gap: the second Ritz pair must have settled. A start at an eigenvector spans an
# invariant subspace except for its random part, whose other eigenvectors emerge slowly as the second pair. Without this
# bound 17% of the starts at the second eigenvector counted as converged, with it none of 150.
_SETTLED = 0.1
# A coarse stage finds the eigenvectors near the top: this looser bound replaces the last two.
_RESIDUAL_AFTER_COARSE = 10.0


@dataclass(frozen=True)
class Ritz:
    """The Ritz pairs after k steps of Lanczos."""

    values: Sequence[float]
    """Ascending; NaN if a product was not finite."""
    vectors: Tensor
    """[k, k] float64: column i belongs to value i, in the Lanczos basis."""
    tridiagonal: Tensor
    """[k, k] float64."""
    beta: float
    """Norm of the next, not yet normalised basis vector."""
    invariant: bool
    """Whether the subspace is invariant to rounding, so that no product can extend it."""

    @classmethod
    def of(
        cls, diagonal: Sequence[float], off_diagonal: Sequence[float], beta: float, eps: float, full: bool
    ) -> "Ritz":
        """Solves the tridiagonal eigenproblem in float64. ``full``: the basis spans the space, so it is invariant."""
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if off_diagonal:
            sides = torch.tensor(off_diagonal, dtype=torch.float64)
            tridiagonal += torch.diag(sides, 1) + torch.diag(sides, -1)
        if not (torch.isfinite(tridiagonal).all() and math.isfinite(beta)):
            vectors = torch.full_like(tridiagonal, math.nan)
            return cls([math.nan] * len(diagonal), vectors, tridiagonal, math.nan, invariant=False)
        values, vectors = torch.linalg.eigh(tridiagonal)
        # Below this norm the next basis vector would be rounding noise.
        invariant = full or beta <= 10.0 * eps * float(values.abs().max())
        return cls(values.tolist(), vectors, tridiagonal, beta, invariant)

    @property
    def finite(self) -> bool:
        """Whether all products were finite."""
        return all(math.isfinite(value) for value in self.values) and math.isfinite(self.beta)

    def residual(self, index: int) -> float:
        """||A y - value y|| for the Ritz vector y: beta times its last component in the basis."""
        return self.beta * abs(float(self.vectors[-1, index]))

    @property
    def error(self) -> float:
        """The estimated distance of the largest Ritz value from the largest eigenvalue.

        The least of the residual, of residual^2 / gap with the gap to the next Ritz value, and of an extrapolation of
        the last two steps. The second is too large if the residual is along eigenvectors far below the next one.
        """
        residual = self.residual(-1)
        if len(self.values) == 1 or not self.finite:
            return residual
        gap = self.values[-1] - self.values[-2]
        bound = residual if residual >= gap else residual * residual / gap
        return min(bound, self._extrapolated_error())

    def _extrapolated_error(self) -> float:
        """The larger of two estimates, which let the error fall with the squared residual as in the last two steps."""
        errors = []
        for size in range(max(1, len(self.values) - 2), len(self.values)):
            values, vectors = torch.linalg.eigh(self.tridiagonal[:size, :size])
            before = float(self.tridiagonal[size - 1, size] * vectors[-1, -1])
            gained = self.values[-1] - float(values[-1])
            ratio = (self.residual(-1) / before) ** 2 if before else math.inf
            errors.append(gained * ratio / (1.0 - ratio) if ratio < 1.0 else math.inf)
        return max(errors)

    def converged(self, tolerance: float, after_coarse: bool = False) -> bool:
        """Whether the largest value is within the relative tolerance; see :func:`estimators.lanczos` for the criterion.

        At a tolerance of 0.0 only an invariant subspace has converged.
        """
        if not self.finite:
            return False
        if self.invariant:
            return True
        if tolerance == 0.0 or len(self.values) == 1:
            return False
        largest, residual = abs(self.values[-1]), self.residual(-1)
        if self.error > _ERROR * tolerance * largest:
            return False
        relative_residual = residual / largest if largest else math.inf
        if after_coarse:
            return relative_residual <= _RESIDUAL_AFTER_COARSE * tolerance
        settled = self.residual(-2) <= _SETTLED * (self.values[-1] - self.values[-2])
        return settled and relative_residual <= _RESIDUAL * tolerance

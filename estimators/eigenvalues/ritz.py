"""Ritz pairs of a Krylov subspace, and their convergence to the largest eigenvalue."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Rounding of products, in units of eps * ||A||. In small float32 networks it changed lambda_max by at most 20 eps, and
# mostly by less than 10. Smaller residuals and errors are not resolved.
ROUNDING = 10.0
# Bounds for convergence. Those on error and residual are multiples of the tolerance. They were tuned on Hessians of
# networks in training (benchmarks/curvature/lambda_max.py) and on matrices of subsampled data.
_ERROR = 0.5
# Applies without a coarse stage. Let r be the ratio of the start's components along the upper and the lower of two
# eigenvectors, whose eigenvalues are a relative w apart. If r is small, the pair looks like one eigenvalue with a
# residual of r w. For random starts P(r < 1/m) = 2/(pi m). With a bound of 1, one start in ten counted the lower of two
# eigenvalues 1% apart as converged to 0.1%.
_RESIDUAL = 0.1
# As a share of the gap: the second Ritz pair must have converged as well. From a start that is an eigenvector, Lanczos
# finds other eigenvectors only through the random part of the start. They grow slowly and first appear as the second
# pair. Of starts at the second eigenvector, 17% counted as converged without this bound and none of 150 with it.
_SETTLED = 0.1
# A coarse stage finds the eigenvectors near the top, so looser bounds replace the previous two. Without the second one,
# 3% of small networks with a weight penalty counted as converged and were up to 2% off.
_RESIDUAL_AFTER_COARSE = 10.0
_SETTLED_AFTER_COARSE = 0.4


@dataclass(frozen=True)
class Ritz:
    """The Ritz pairs after k steps of Lanczos."""

    values: Sequence[float]
    """Ascending; NaN if a product was not finite."""
    vectors: Tensor
    """[k, k] float64: column i is the eigenvector of value i, in the Lanczos basis."""
    tridiagonal: Tensor
    """[k, k] float64."""
    beta: float
    """Norm of the next basis vector before normalisation."""
    invariant: bool
    """Whether the subspace is invariant up to rounding, so that no product can extend it."""
    eps: float
    """Relative rounding of the operator's dtype."""

    @classmethod
    def of(
        cls, diagonal: Sequence[float], off_diagonal: Sequence[float], beta: float, eps: float, full: bool
    ) -> "Ritz":
        """Solves the tridiagonal eigenproblem in float64. ``full``: the basis spans the whole space."""
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if off_diagonal:
            sides = torch.tensor(off_diagonal, dtype=torch.float64)
            tridiagonal += torch.diag(sides, 1) + torch.diag(sides, -1)
        if not (torch.isfinite(tridiagonal).all() and math.isfinite(beta)):
            vectors = torch.full_like(tridiagonal, math.nan)
            return cls([math.nan] * len(diagonal), vectors, tridiagonal, math.nan, False, eps)
        values, vectors = torch.linalg.eigh(tridiagonal)
        # A next basis vector with a smaller norm would be rounding noise.
        invariant = full or beta <= ROUNDING * eps * float(values.abs().max())
        return cls(values.tolist(), vectors, tridiagonal, beta, invariant, eps)

    @property
    def finite(self) -> bool:
        """Whether all products were finite."""
        return all(math.isfinite(value) for value in self.values) and math.isfinite(self.beta)

    @property
    def rounding(self) -> float:
        """The error of an eigenvalue that rounding of the products may cause."""
        return ROUNDING * self.eps * max(map(abs, self.values))

    def residual(self, index: int) -> float:
        """||A y - value y|| for the Ritz vector y: beta times its last component in the basis, without rounding."""
        return self.beta * abs(float(self.vectors[-1, index]))

    @property
    def error(self) -> float:
        """Estimated distance of the largest Ritz value from the largest eigenvalue.

        The smallest of three values: the residual, residual^2 / gap with the gap to the next Ritz value, and an
        extrapolation of the last two steps. The second value is too large if the residual is along eigenvectors far
        below the next Ritz value. At least the rounding of products.
        """
        residual = self.residual(-1)
        if not self.finite:
            return math.nan
        if len(self.values) == 1:
            return max(residual, self.rounding)
        gap = self.values[-1] - self.values[-2]
        bound = residual if residual >= gap else residual * residual / gap
        return max(min(bound, self._extrapolated_error()), self.rounding)

    def _extrapolated_error(self) -> float:
        """The larger of two extrapolations, which assume that the error is proportional to the squared residual."""
        errors = []
        for size in range(max(1, len(self.values) - 2), len(self.values)):
            values, vectors = torch.linalg.eigh(self.tridiagonal[:size, :size])
            before = float(self.tridiagonal[size - 1, size] * vectors[-1, -1])
            gained = self.values[-1] - float(values[-1])
            ratio = (self.residual(-1) / before) ** 2 if before else math.inf
            errors.append(gained * ratio / (1.0 - ratio) if ratio < 1.0 else math.inf)
        return max(errors)

    def converged(self, tolerance: float, after_coarse: bool = False) -> bool:
        """Whether the largest value is within the relative tolerance; see `estimators.lanczos` for the criterion.

        At a tolerance of 0.0, only an invariant subspace counts as converged. At other tolerances below the rounding of
        the dtype, nothing does.
        """
        if not self.finite or 0.0 < _ERROR * tolerance < ROUNDING * self.eps:
            return False
        if self.invariant:
            return True
        if tolerance == 0.0 or len(self.values) == 1:
            return False
        largest, residual = abs(self.values[-1]), self.residual(-1)
        if self.error > _ERROR * tolerance * largest:
            return False
        relative_residual = residual / largest if largest else math.inf
        bound, settled = (_RESIDUAL_AFTER_COARSE, _SETTLED_AFTER_COARSE) if after_coarse else (_RESIDUAL, _SETTLED)
        if self.residual(-2) > settled * (self.values[-1] - self.values[-2]):
            return False
        return relative_residual <= bound * tolerance

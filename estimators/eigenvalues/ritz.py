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
# Maximum relative residual after a coarse stage. With full batches at the edge of stability, eigenvalues cluster
# within a few percent and the gradient oscillates along those below the largest. A residual of 4% hid an error of 8%.
_LARGEST_RESIDUAL_AFTER_COARSE = 0.01


@dataclass(frozen=True)
class Ritz:
    """The Ritz pairs of a Krylov space with basis Q: A Q = Q ``projected`` + P ``coupling``.

    The columns of P are orthonormal and orthogonal to those of Q. They are the next directions, one for every start
    vector of the space.
    """

    values: Sequence[float]
    """Ascending; NaN if a product was not finite."""
    vectors: Tensor
    """[m, m] float64: column i is the eigenvector of value i, in the basis."""
    projected: Tensor
    """Q'AQ [m, m], float64. Tridiagonal if there is one start vector and the space was never restarted."""
    coupling: Tensor
    """[directions, m] float64."""
    invariant: bool
    """Whether the subspace is invariant up to rounding, so that no product can extend it."""
    eps: float
    """Relative rounding of the operator's dtype."""

    @classmethod
    def of(cls, projected: Tensor, coupling: Tensor, eps: float, full: bool) -> "Ritz":
        """Solves the projected eigenproblem in float64. ``full``: the basis spans the whole space."""
        if not (torch.isfinite(projected).all() and torch.isfinite(coupling).all()):
            nothing = torch.full_like(projected, math.nan)
            return cls([math.nan] * len(projected), nothing, projected, coupling, False, eps)
        values, vectors = torch.linalg.eigh(projected)
        # A next direction with a smaller norm would be rounding noise.
        norms = [math.hypot(*row) for row in coupling.tolist()]
        invariant = full or max(norms, default=0.0) <= ROUNDING * eps * float(values.abs().max())
        return cls(values.tolist(), vectors, projected, coupling, invariant, eps)

    @property
    def finite(self) -> bool:
        """Whether all products were finite."""
        return all(math.isfinite(value) for value in self.values)

    @property
    def rounding(self) -> float:
        """The error of an eigenvalue that rounding of the products may cause."""
        return ROUNDING * self.eps * max(map(abs, self.values))

    def residual(self, index: int) -> float:
        """||A y - value y|| for the Ritz vector y, without rounding."""
        return math.hypot(*(self.coupling @ self.vectors[:, index]).tolist())

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

    def part(self, pairs: Sequence[int]) -> "Ritz":
        """The space of some Ritz vectors."""
        values = [self.values[index] for index in pairs]
        projected = torch.diag(torch.tensor(values, dtype=torch.float64))
        coupling = self.coupling @ self.vectors[:, pairs]
        return Ritz(values, torch.eye(len(values), dtype=torch.float64), projected, coupling, self.invariant, self.eps)

    def upper_bounds(self, outside: float) -> list[float]:
        """Upper bounds of the m largest eigenvalues, descending.

        ``outside``: an upper bound of the eigenvalues of A restricted to the complement of the space. Replacing that
        restriction by ``outside`` times the identity makes no eigenvalue smaller (Lehmann, 1949).
        """
        if not self.finite or outside == math.inf:
            return [math.nan if not self.finite else math.inf] * len(self.values)
        if self.invariant and outside == -math.inf:
            return list(reversed(self.values))
        corner = outside * torch.eye(len(self.coupling), dtype=torch.float64)
        larger = torch.cat([torch.cat([self.projected, self.coupling.T], 1), torch.cat([self.coupling, corner], 1)])
        found = [*torch.linalg.eigvalsh(larger).tolist(), *[outside] * len(self.values)]
        return sorted(found, reverse=True)[: len(self.values)]

    def top_errors(self, count: int, outside: float) -> list[float]:
        """Bounds of the distances of the ``count`` largest Ritz values from the eigenvalues of the same rank.

        ``outside``: as for `upper_bounds`. At least the rounding of products.
        """
        bounds = zip(self.upper_bounds(outside), reversed(self.values), strict=True)
        return [max(bound - value, self.rounding) for bound, value in bounds][:count]

    def _extrapolated_error(self) -> float:
        """The larger of two extrapolations, which assume that the error is proportional to the squared residual.

        Needs a tridiagonal projection.
        """
        errors = []
        for size in range(max(1, len(self.values) - 2), len(self.values)):
            values, vectors = torch.linalg.eigh(self.projected[:size, :size])
            before = float(self.projected[size - 1, size] * vectors[-1, -1])
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
        accepted = (
            min(_RESIDUAL_AFTER_COARSE * tolerance, _LARGEST_RESIDUAL_AFTER_COARSE)
            if after_coarse
            else _RESIDUAL * tolerance
        )
        settled = _SETTLED_AFTER_COARSE if after_coarse else _SETTLED
        if self.residual(-2) > settled * (self.values[-1] - self.values[-2]):
            return False
        return relative_residual <= accepted

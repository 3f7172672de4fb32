"""Eigenpairs that a Lanczos run has found, which have exact weights in the spectral density."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from estimators.eigenvalues.lanczos_subspace import LanczosSubspace, check_subspace
from estimators.eigenvalues.top_eigenvalues import TopEigenvalues
from estimators.operators.inner_products import norm
from estimators.operators.protocols import SymmetricOperator

# Bounds for a known eigenpair, relative to the range of the spectrum: on its residual, and on the error of its value,
# residual^2 / gap. Without the second one, Ritz values inside the bulk counted as known. With broadened densities, the
# coverage of the band was then 30% at some points.
_RESIDUAL = 0.01
_ERROR = 0.001


class LanczosSpace(LanczosSubspace, Protocol):
    """The subspace of a Lanczos run, for example an `estimators.LanczosResult`.

    With the optional ``remainder`` [size], the last column of AQ - QT, residuals are exact; without, they are bounds.
    """

    @property
    def residual(self) -> float:
        """The residual norm of the largest Ritz value, or a bound."""


@dataclass(frozen=True, eq=False)
class KnownEigenpairs:
    """Approximate eigenpairs: values [q] ascending, orthonormal vectors [size, q], residual norms [q]."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor

    @property
    def coupling(self) -> float:
        """Bound of the sum of the changes of all eigenvalues if the known pairs are taken as exact.

        A and QQ'AQQ' + PAP with P = I - QQ' differ by a matrix whose nuclear norm is at most twice the sum of the
        residuals. It bounds the sum of the differences of the sorted eigenvalues (Mirsky, 1960).
        """
        return 2.0 * float(self.residuals.sum())

    @property
    def largest_shift(self) -> float:
        """Bound of the change of every single eigenvalue (Weyl's inequality)."""
        return float(self.residuals.square().sum().sqrt())


def none_known(op: SymmetricOperator) -> KnownEigenpairs:
    """No eigenpairs."""
    empty = torch.zeros(0, dtype=torch.float64)
    return KnownEigenpairs(empty, torch.zeros(op.size, 0, dtype=op.dtype, device=op.device), empty)


def from_lanczos(op: SymmetricOperator, space: LanczosSpace) -> KnownEigenpairs:
    """The converged Ritz pairs of a Lanczos result, from any start vector.

    Raises:
        ValueError: if the result is one of another operator.
    """
    check_subspace(op, space)
    remainder = getattr(space, "remainder", None)
    if remainder is not None:
        return converged_pairs(op, space.basis, space.tridiagonal, float(norm(remainder)))
    if not bool(torch.isfinite(space.tridiagonal).all()):
        return none_known(op)
    last = abs(float(torch.linalg.eigh(space.tridiagonal).eigenvectors[-1, -1]))
    return converged_pairs(op, space.basis, space.tridiagonal, space.residual / last if last else math.inf)


def from_top_eigenvalues(op: SymmetricOperator, found: TopEigenvalues) -> KnownEigenpairs:
    """The accurate ones of the largest eigenvalues. Their errors are bounded, so they need not be isolated.

    Raises:
        ValueError: if they are of another operator.
    """
    if (tuple(found.vectors.shape), found.vectors.dtype) != ((op.size, len(found.values)), op.dtype):
        raise ValueError(
            f"deflate has vectors of shape {tuple(found.vectors.shape)} and {found.vectors.dtype}, expected [{op.size},"
            f" k] and {op.dtype}: pass the top_eigenvalues of this operator"
        )
    if len(found.values) == op.size:
        return none_known(op)
    # The largest eigenvalue stands for the range: the smallest one is unknown.
    chosen = torch.nonzero(found.errors <= _ERROR * found.values[0].abs()).flatten().flip(0)
    return KnownEigenpairs(found.values[chosen], found.vectors[:, chosen], found.residuals[chosen])


def converged_pairs(op: SymmetricOperator, basis: Tensor, tridiagonal: Tensor, beta: float) -> KnownEigenpairs:
    """The converged Ritz pairs of a Lanczos run with basis [size, k].

    Of several equal eigenvalues, a run finds one. The others stay in the complement. Nothing is known from a run with
    non-finite products or one that spans the whole space.

    Args:
        op: the operator.
        basis: Q [size, k].
        tridiagonal: T = Q'AQ [k, k].
        beta: the norm of the last column of AQ - QT. All other columns are zero.
    """
    if not (bool(torch.isfinite(tridiagonal).all()) and math.isfinite(beta)) or len(tridiagonal) >= op.size:
        return none_known(op)
    values, vectors = torch.linalg.eigh(tridiagonal)
    residuals = beta * vectors[-1].abs()
    chosen = _converged(values, residuals)
    ritz = basis @ vectors[:, chosen].to(op.device, op.dtype)
    return KnownEigenpairs(values[chosen], ritz, residuals[chosen])


def _converged(values: Tensor, residuals: Tensor) -> Tensor:
    span = values[-1] - values[0]
    gaps = torch.cat([span[None], values.diff(), span[None]])
    gap = torch.minimum(gaps[:-1], gaps[1:])
    return (residuals <= _RESIDUAL * span) & (residuals.square() <= _ERROR * span * gap)

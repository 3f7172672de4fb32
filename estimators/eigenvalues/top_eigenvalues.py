"""The largest eigenvalues of a symmetric operator: Lanczos with thick restarts and a check for missed eigenvalues."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.eigenvalues.lanczos import LanczosResult
from estimators.eigenvalues.ritz import ROUNDING
from estimators.eigenvalues.start import CoarseFraction, StartRule
from estimators.eigenvalues.subset_start import steps, subset_start
from estimators.eigenvalues.top_search import TopSearch, Wanted, capacity
from estimators.operators.protocols import SampledOperator, SymmetricOperator, keeping_graphs, without_autocast
from estimators.operators.random_vectors import random_vector


@dataclass(frozen=True, eq=False)
class TopEigenvalues:
    """Result of `estimators.top_eigenvalues`. Eigenvalues are in units of the loss per squared parameter."""

    values: Tensor
    """[k] float64 on the CPU, descending. None exceeds the eigenvalue of the same rank, except by rounding."""
    residuals: Tensor
    """[k]: ||A v - value v|| for each vector, at least the rounding of products, 10 eps ||A||.

    Some eigenvalue is within this distance of the value."""
    errors: Tensor
    """[k]: upper bounds of the distance from the eigenvalue of the same rank, at least the rounding of products.

    They hold with a probability of 99% over the random vector that checks for missed eigenvalues. Infinite if the
    products did not suffice for a bound."""
    converged: Tensor
    """[k] bool: whether the error is at most the tolerance, relative to the value."""
    gap: float
    """Lower bound, with a probability of 99%, of the distance from the last value to the eigenvalue of rank k + 1.

    The angle between the space of ``vectors`` and that of the eigenvectors has a sine of at most the 2-norm of
    ``residuals`` divided by this (Davis and Kahan, 1970). Unknown if it is not above zero; infinite if k = op.size."""
    products: float
    """Products used."""
    vectors: Tensor = field(repr=False)
    """[size, k]: orthonormal Ritz vectors."""


@without_autocast
def top_eigenvalues(
    op: SymmetricOperator,
    k: int = 5,
    tolerance: float = 1e-3,
    max_products: int = 60,
    generator: torch.Generator | None = None,
    *,
    coarse_fraction: CoarseFraction = "auto",
    initial: LanczosResult | Tensor | None = None,
) -> TopEigenvalues:
    """Computes the k algebraically largest eigenvalues and their eigenvectors (Lanczos; Wu and Simon, 2000).

    Grows a Krylov space as `estimators.lanczos` does, and restarts it from the k + 5 largest Ritz vectors once it has
    2 k + 30 dimensions. A Krylov space contains each multiple eigenvalue only once, and lacks eigenvectors that are
    orthogonal to its start. Once all pairs look accurate, the space is therefore extended by Lanczos from a random
    vector outside it. A few steps bound the eigenvalues outside the space with a probability of 99% (van Dorsselaer,
    Hochstenbach and van der Vorst, 2000), or find those that were missed; after a find, the check is repeated. A
    multiple eigenvalue is returned as often as it occurs, for about ten products per copy.

    From this bound and the residuals, ``errors`` follow without further assumptions (Lehmann, 1949). A pair has
    converged once its error is at most the tolerance. If many eigenvalues are close to the k-th, this takes many
    products; the result then says which pairs have converged.

    Synchronizes with the device once per product. Needs memory for 2 k + 30 vectors, k + 5 more in a restart, and ten
    more.

    Args:
        op: the operator. A coarse stage needs a mean over samples in random order, such as
            `estimators.HessianOperator`.
        k: number of eigenvalues, from 1 to op.size.
        tolerance: relative to each eigenvalue. 0.0 uses every product; only a basis of the whole space has converged.
        max_products: maximum number of products, including the coarse stage; at least k, and one more for that stage.
        generator: draws all random numbers, on any device. None: torch's global CPU generator.
        coarse_fraction: share of the samples in the coarse stage, in (0, 1): Lanczos on the first samples, in random
            order. The sum of its top k Ritz vectors is the start. It takes up to 2 k + 10 steps and at most
            one product. ``"auto"``: 1 / (2 k + 10) if the operator has samples, initial is None and 2 <= max_products <
            op.size, otherwise None. None: a random start.
        initial: a result of `estimators.lanczos` for the same matrix, whose Krylov space is continued, so that only
            further products are paid. Or a start vector [size]. None: a coarse stage or a random start.

    Raises:
        ValueError: if k is outside [1, op.size], max_products is too small, tolerance is negative or NaN, initial has
            the wrong shape, is zero or not finite, or belongs to another matrix, or as `estimators.lanczos` for
            coarse_fraction.
    """
    _check(op, k, tolerance)
    products_before = op.products
    with _space(op, k, max_products, generator, coarse_fraction, initial) as (space, used):
        if max_products - used + space.dimension < k:
            raise ValueError(f"max_products is {max_products}, expected at least {k + used}, one for each eigenvalue")
        search = TopSearch(op, space, Wanted(k, tolerance), generator)
        for left in range(max_products - used, 0, -1):
            if search.finished():
                break
            search.expand(left)
        values, residuals, errors, vectors = search.pairs()
        gap = search.gap()
    accurate = errors <= tolerance * values.abs()
    if space.dimension == op.size:
        # Every eigenvalue is exact up to rounding, also those near zero.
        exact = tolerance == 0.0 or tolerance >= ROUNDING * torch.finfo(op.dtype).eps
        accurate = torch.full_like(accurate, exact) & ~values.isnan()
    return TopEigenvalues(values, residuals, errors, accurate, gap, op.products - products_before, vectors)


@contextmanager
def _space(
    op: SymmetricOperator,
    k: int,
    max_products: int,
    generator: torch.Generator | None,
    coarse_fraction: CoarseFraction,
    initial: LanczosResult | Tensor | None,
) -> Iterator[tuple[KrylovSpace, int]]:
    """Yields the space at its start, or that of ``initial``, and the number of products that the start may take."""
    if isinstance(initial, LanczosResult):
        _check_initial(op, initial)
        with keeping_graphs(op):
            basis, projected, remainder = initial.basis, initial.tridiagonal, initial.remainder
            yield KrylovSpace.from_basis(op, capacity(op, k), basis, projected, remainder), 0
        return
    rule = StartRule.of(op, initial, coarse_fraction, max_products, auto=1.0 / steps(k))
    fraction, random = rule.coarse_fraction, random_vector(op, generator)
    if fraction is not None:
        assert isinstance(op, SampledOperator)
        rule = StartRule(subset_start(op, k, fraction, random_vector(op, generator)), None)
    with rule.apply(op, random) as start:
        space = KrylovSpace(op, capacity(op, k))
        space.start(start)
        yield space, int(fraction is not None)


def _check(op: SymmetricOperator, k: int, tolerance: float) -> None:
    if not 1 <= k <= op.size:
        raise ValueError(f"k is {k}, expected 1 to {op.size}, the size of the operator: 5 is usual")
    if not tolerance >= 0.0:
        raise ValueError(f"tolerance is {tolerance}, expected at least 0.0 (use every product)")


def _check_initial(op: SymmetricOperator, initial: LanczosResult) -> None:
    found = (initial.basis.shape[0], initial.basis.dtype, initial.basis.device)
    expected = (op.size, op.dtype, op.device)
    if found != expected:
        listed = [", ".join(map(str, values)) for values in (found, expected)]
        raise ValueError(
            f"initial has size, dtype and device {listed[0]}, expected {listed[1]}: pass the lanczos result of this"
            " operator"
        )

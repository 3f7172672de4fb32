"""The Lanczos method with full reorthogonalisation. Computes both ends of the spectrum, with residuals."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.eigenvalues.ritz import Ritz
from estimators.eigenvalues.start import CoarseFraction, StartRule
from estimators.operators.inner_products import norm
from estimators.operators.protocols import SymmetricOperator, without_autocast
from estimators.operators.random_vectors import random_vector


@dataclass(frozen=True, eq=False)
class LanczosResult:
    """Result of `estimators.lanczos`. Eigenvalues are in units of the loss per squared parameter."""

    lambda_max: float
    """The largest Ritz value. It never exceeds the algebraically largest eigenvalue, except by rounding."""
    lambda_min: float
    """The smallest Ritz value. It is never below the algebraically smallest eigenvalue, except by rounding."""
    residual: float
    """||A v - lambda_max v|| for v = ``vector``, at least the rounding of products, 10 eps ||A||.

    Some eigenvalue is within this distance of ``lambda_max``."""
    lambda_min_residual: float
    """The residual norm of ``lambda_min`` and its Ritz vector."""
    error: float
    """Estimated distance of ``lambda_max`` from the largest eigenvalue, in the units of ``lambda_max``.

    The smallest of three values: the residual, residual^2 / gap with the gap to the next Ritz value, and an
    extrapolation of the last two steps. At least the rounding of products, 10 eps ||A||. Not a bound: on networks, half
    of the true errors were between 0.6 and 2 times this estimate."""
    converged: bool
    """Whether lambda_max is within the tolerance. `estimators.lanczos` describes what this test can miss."""
    products: float
    """Products used."""
    history: tuple[float, ...] = field(repr=False)
    """The largest Ritz value after each product over all samples."""
    vector: Tensor = field(repr=False)
    """[size]: the Ritz vector of lambda_max, of unit length."""
    basis: Tensor = field(repr=False)
    """Q [size, k]: orthonormal columns, one per product over all samples."""
    tridiagonal: Tensor = field(repr=False)
    """T = Q'AQ [k, k], float64 on the CPU. Its eigenvalues are the Ritz values."""
    remainder: Tensor = field(repr=False)
    """[size]: the last column of AQ - QT, whose other columns are zero; zero if the subspace is invariant. With it,
    `estimators.top_eigenvalues` continues from this result."""


@without_autocast
def lanczos(
    op: SymmetricOperator,
    max_products: int = 10,
    tolerance: float = 1e-3,
    initial: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    coarse_fraction: CoarseFraction = "auto",
) -> LanczosResult:
    """Computes the algebraically largest and smallest eigenvalue (Lanczos, 1950; Parlett, 1980).

    Stops when lambda_max has converged, when the subspace is invariant (no product can extend it), or after
    ``max_products``. If the operator has samples, a coarse stage computes the start vector, at the cost of at most one
    product. It turns the gradient towards the top eigenvectors, with one step per chunk of at most a tenth of the
    samples (`estimators.eigenvalues.coarse_start`). All results except ``products`` describe the second stage, which
    uses all samples, so ``basis`` and ``tridiagonal`` can deflate probes.

    ``converged`` requires the following, relative to |lambda_max|. An invariant subspace needs only the last one.

    - ``error`` is at most half the tolerance. It stays large until the two largest Ritz values have separated.
    - The residual is at most a tenth of the tolerance. After a coarse stage: at most ten times the tolerance and 1%.
    - The residual of the second Ritz pair is at most a tenth of its gap to the first. After a coarse stage: 0.4.
    - The tolerance is at least 20 eps of the operator's dtype, 2.4e-6 in float32, because products are rounded.

    Lanczos cannot find a top eigenvector that is orthogonal to the start, so a random part is added to a given start.
    From a start that is nearly orthogonal, Lanczos may stagnate at an eigenvalue a relative distance w below the
    largest, with a residual below w. The bounds on the residuals make this rare: it happens for a share of about 0.06
    tolerance / w of random starts. After a coarse stage, it happened in none of 112 runs on networks in training
    (benchmarks/curvature/lambda_max.py). It happened in 2 of 1,000 runs on small networks with eigenvalues that are
    close together, most of them with a weight penalty. Of several equal eigenvalues, only one is found.

    Synchronizes with the device once per step, after the product. Needs memory for one vector per product and ten more.

    Args:
        op: the operator. A coarse stage needs a mean over samples in random order, such as
            `estimators.HessianOperator`.
        max_products: maximum number of products, including the coarse stage.
        tolerance: relative to |lambda_max|. 0.0 uses every product; then only an invariant subspace has converged.
        initial: the start vector [size], of any nonzero length. A random vector of a hundredth of its length is added.
            None: standard normal. The eigenvector of the previous epoch saves few products in training. Cannot be
            combined with a coarse stage.
        generator: draws all random numbers, on any device. None: torch's global CPU generator. Draw the probes for
            deflation with another seed.
        coarse_fraction: maximum share of the samples in a step of the coarse stage, in (0, 1). With a few hundred
            samples, a step uses this share; with more, it uses one chunk. "auto": 0.1 if the operator has samples,
            initial is None and max_products is at least 2 and below op.size. None: no coarse stage.

    Raises:
        ValueError: if max_products is below 1 (below 2 with a coarse stage), tolerance is negative or NaN, initial has
            the wrong shape or is zero or not finite, coarse_fraction is outside (0, 1) or combined with initial, or the
            operator has no chunks of samples.
    """
    if max_products < 1:
        raise ValueError(f"max_products is {max_products}, expected at least 1: 10 is usual")
    if not tolerance >= 0.0:
        raise ValueError(f"tolerance is {tolerance}, expected at least 0.0 (use every product)")
    rule = StartRule.of(op, initial, coarse_fraction, max_products)
    coarse = rule.coarse_fraction is not None
    converged = partial(Ritz.converged, tolerance=tolerance, after_coarse=coarse)
    products_before = op.products
    with rule.apply(op, random_vector(op, generator)) as start:
        space, ritz, history = _krylov(op, start, max_products - coarse, converged)
    vector: Tensor = space.basis @ ritz.vectors[:, -1].to(op.device, op.dtype)
    return LanczosResult(
        lambda_max=ritz.values[-1],
        lambda_min=ritz.values[0],
        residual=max(ritz.residual(-1), ritz.rounding),
        lambda_min_residual=max(ritz.residual(0), ritz.rounding),
        error=ritz.error,
        converged=converged(ritz),
        products=op.products - products_before,
        history=history,
        vector=vector / norm(vector),
        basis=space.basis,
        tridiagonal=ritz.projected,
        remainder=space.remainder,
    )


def _krylov(
    op: SymmetricOperator, start: Tensor, products: int, converged: Callable[[Ritz], bool]
) -> tuple[KrylovSpace, Ritz, tuple[float, ...]]:
    """Iterates until convergence, an invariant subspace or a non-finite product. Returns also lambda_max by step."""
    space = KrylovSpace(op, min(products, op.size))
    space.start(start)
    history: list[float] = []
    while True:
        space.expand()
        ritz = space.ritz()
        history.append(ritz.values[-1])
        if ritz.invariant or converged(ritz) or not ritz.finite or space.dimension == space.capacity:
            return space, ritz, tuple(history)

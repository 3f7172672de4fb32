"""The Lanczos method with full reorthogonalisation: both ends of the spectrum, with residuals."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.eigenvalues.coarse_start import coarse_start
from estimators.eigenvalues.ritz import Ritz
from estimators.operators.protocols import SampledOperator, SymmetricOperator, keeping_graphs
from estimators.operators.random_vectors import random_vector

# Length of the random part of a start that was given or came from a coarse stage, the rest being of length 1. It costs
# the first Rayleigh quotient 1e-4 of itself, which the second product takes back. A top eigenvector of which the rest
# knows nothing is found about as soon as by a random start: the rest is one eigenvector that is known already.
_RANDOM_PART = 0.01


@dataclass(frozen=True, eq=False)
class LanczosResult:
    """What :func:`estimators.lanczos` found. Eigenvalues are in units of the loss per squared parameter."""

    lambda_max: float
    """The largest Ritz value: never above the algebraically largest eigenvalue, but for rounding."""
    lambda_min: float
    """The smallest Ritz value: never below the algebraically smallest eigenvalue, but for rounding."""
    residual: float
    """||A v - lambda_max v|| of ``vector``: some eigenvalue lies within it of ``lambda_max``."""
    lambda_min_residual: float
    """The same for ``lambda_min`` and its Ritz vector."""
    error: float
    """How far below the largest eigenvalue ``lambda_max`` is to be expected: the least of the residual, of
    residual^2 / gap with the gap to the next Ritz value, and of what is left to gain by how the last two steps went. In
    the units of ``lambda_max``; an estimate, no bound: on networks the true one was 0.6 to 2 times as large in half of
    the cases."""
    converged: bool
    """Is lambda_max within the tolerance? See :func:`estimators.lanczos` for what is known and what is not."""
    products: float
    """Products it took."""
    history: tuple[float, ...] = field(repr=False)
    """The largest Ritz value after each product on all samples."""
    vector: Tensor = field(repr=False)
    """[size], of unit length: the Ritz vector of lambda_max."""
    basis: Tensor = field(repr=False)
    """Q [size, k], orthonormal columns, k the number of products."""
    tridiagonal: Tensor = field(repr=False)
    """T = Q'AQ [k, k], float64 on the CPU; its eigenvalues are all Ritz values."""


def lanczos(
    op: SymmetricOperator,
    max_products: int = 10,
    tolerance: float = 1e-3,
    initial: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    coarse_fraction: float | None = None,
) -> LanczosResult:
    """The algebraically largest and smallest eigenvalue (Lanczos, 1950; Parlett, The Symmetric Eigenvalue Problem).

    Stops when lambda_max has converged, when the subspace is invariant (no product can add to it), or after
    ``max_products``. With ``coarse_fraction=0.1`` a coarse stage goes before, for one of the products or less: it turns
    the gradient towards the topmost eigenvectors, by a step after every chunk of at most a tenth of the samples
    (:mod:`estimators.eigenvalues.coarse_start`). All that is returned but ``products`` is of the stage on all
    samples: ``basis`` and ``tridiagonal`` may deflate probes.

    ``converged`` asks for bounds on two numbers, relative to |lambda_max|:

    - the error is at most half the tolerance. It is the error's usual size, and large while the two topmost Ritz values
      still part;
    - the residual is at most a tenth of the tolerance, and the second Ritz pair's a tenth of the gap. After a coarse
      stage, which has seen what is near the top: the residual is at most ten tolerances.

    How little the Ritz value last moved does not count. What no method of this kind can know: a start orthogonal to the
    top eigenvector never finds it. No start is, but for a set of measure zero: a given one gets a random part, so that
    one that knows of another eigenvector only goes on to the top one. But a start may be nearly so: then it rests at
    an eigenvalue just below the top one, a relative w below, with a residual smaller than w. The second bound makes
    this rare: about 0.06 tolerance / w of the random starts; after a coarse stage none of the 66 cases in
    benchmarks/lambda_max.py, in three orders of their samples. Of equal eigenvalues one is found.

    The device is waited for once a step, after the product. Memory: a vector for each product, and ten more.

    Args:
        op: the operator; with a coarse stage one of samples in random order, as :class:`estimators.HessianOperator`.
        max_products: at most so many products, that of the coarse stage included.
        tolerance: relative to |lambda_max|; 0.0 uses every product.
        initial: where to start [size], of any length but zero; a random part of a hundredth of its length is added.
            None: standard normal. Last epoch's eigenvector saves little while training moves; not with a coarse stage.
        generator: the stream of all that is random, on any device; None: torch's global CPU stream. For deflated
            probes, take another stream than theirs.
        coarse_fraction: the share of the samples that a step of the coarse stage looks at, at most, in (0, 1): a tenth
            of a few hundred samples, and a chunk of more. None: no coarse stage.

    Raises:
        ValueError: if max_products is below 1, or below 2 with a coarse stage, tolerance is negative or NaN, initial is
            no usable vector, coarse_fraction is outside (0, 1) or goes with an initial vector, or the operator has no
            chunks of samples.
    """
    _check(max_products, tolerance)
    products_before, counted = op.products, op
    random = random_vector(op, generator)
    after_coarse = coarse_fraction is not None

    def is_enough(ritz: Ritz) -> bool:
        return ritz.converged(tolerance, after_coarse)

    if coarse_fraction is None:
        start = random if initial is None else _with_random_part(_checked_initial(op, initial), random)
        space = _krylov(op, start, max_products, is_enough)
    else:
        _check_coarse(coarse_fraction, max_products, initial)
        op = _in_chunks(op, coarse_fraction)
        with keeping_graphs(op):
            start = _with_random_part(coarse_start(op, random), random)
            space = _krylov(op, start, max_products - 1, is_enough)
    ritz = space.ritz
    return LanczosResult(
        lambda_max=ritz.values[-1],
        lambda_min=ritz.values[0],
        residual=ritz.residual(-1),
        lambda_min_residual=ritz.residual(0),
        error=ritz.error,
        converged=is_enough(ritz),
        products=counted.products - products_before,
        history=space.history,
        vector=_combined(space.basis, ritz.vectors[:, -1]),
        basis=space.basis,
        tridiagonal=ritz.tridiagonal,
    )


@dataclass(frozen=True)
class _Krylov:
    """What the steps of Lanczos have found."""

    basis: Tensor  # [size, k], orthonormal columns
    ritz: Ritz
    history: tuple[float, ...]


def _krylov(op: SymmetricOperator, start: Tensor, products: int, is_enough: Callable[[Ritz], bool]) -> _Krylov:
    """Steps from a start of any length, until they are enough, the subspace is invariant or a product is not finite."""
    rows = torch.empty(min(products, op.size), op.size, dtype=op.dtype, device=op.device)
    rows[0] = start / torch.linalg.vector_norm(start)
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    history: list[float] = []
    with keeping_graphs(op):
        for step in range(len(rows)):
            remainder = op.matvec(rows[step])
            alpha = torch.dot(rows[step], remainder)
            remainder = _orthogonalised(remainder, rows[: step + 1])
            # One wait for the device a step, outside the product.
            alpha_value, beta = torch.stack([alpha, torch.linalg.vector_norm(remainder)]).tolist()
            diagonal.append(alpha_value)
            ritz = Ritz.of(diagonal, off_diagonal, beta, torch.finfo(op.dtype).eps, full=step + 1 == op.size)
            history.append(ritz.values[-1])
            if ritz.invariant or is_enough(ritz) or not ritz.finite or step + 1 == len(rows):
                break
            off_diagonal.append(beta)
            rows[step + 1] = remainder / beta
    return _Krylov(rows[: len(diagonal)].T, ritz, tuple(history))


def _combined(basis: Tensor, weights: Tensor) -> Tensor:
    """Basis vectors with weights [k], float64 on the CPU: [size], of unit length."""
    vector: Tensor = basis @ weights.to(basis.device, basis.dtype)
    unit: Tensor = vector / torch.linalg.vector_norm(vector)
    return unit


def _orthogonalised(vector: Tensor, rows: Tensor) -> Tensor:
    """The part of vector [size] orthogonal to orthonormal rows [k, size]. Twice is enough (Giraud et al., 2005)."""
    for _ in range(2):
        vector = vector - rows.T @ (rows @ vector)
    return vector


def _with_random_part(start: Tensor, random: Tensor) -> Tensor:
    length: Tensor = _RANDOM_PART * torch.linalg.vector_norm(start) / torch.linalg.vector_norm(random)
    return start + length * random


def _in_chunks(op: SymmetricOperator, fraction: float) -> SampledOperator:
    if not isinstance(op, SampledOperator):
        raise ValueError(
            f"coarse_fraction is {fraction}, but {type(op).__name__} has no in_chunks(fraction) as HessianOperator has:"
            " leave coarse_fraction out"
        )
    return op.in_chunks(fraction)


def _check_coarse(fraction: float, max_products: int, initial: Tensor | None) -> None:
    if initial is not None:
        raise ValueError("initial and coarse_fraction exclude each other: the coarse stage finds where to start")
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"coarse_fraction is {fraction}, expected a share of the samples in (0, 1): 0.1 is usual")
    if max_products < 2:
        raise ValueError(
            f"max_products is {max_products}, expected at least 2 with a coarse_fraction, a product for each stage: 10"
            " is usual"
        )


def _check(max_products: int, tolerance: float) -> None:
    if max_products < 1:
        raise ValueError(f"max_products is {max_products}, expected at least 1: 10 is usual")
    if not tolerance >= 0.0:
        raise ValueError(f"tolerance is {tolerance}, expected at least 0.0 (use every product)")


def _checked_initial(op: SymmetricOperator, initial: Tensor) -> Tensor:
    if initial.shape != (op.size,):
        raise ValueError(f"initial has shape {tuple(initial.shape)}, expected ({op.size},): one entry per parameter")
    start = initial.detach().to(op.device, op.dtype)
    norm = float(torch.linalg.vector_norm(start))
    if norm == 0.0 or not math.isfinite(norm):
        raise ValueError(f"initial has length {norm}, expected a finite one above zero: pass None for a random start")
    return start

"""The Lanczos method with full reorthogonalisation: both ends of the spectrum, with residuals."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.operators import SymmetricOperator, keeping_graphs
from estimators.random_vectors import random_vector
from estimators.results import LanczosResult
from estimators.ritz import Ritz

# Length of the random part of a start that was given or came from a coarse stage, the rest being of length 1. It costs
# the first Rayleigh quotient 1e-4 of itself, which the second product takes back. A top eigenvector of which the rest
# knows nothing is found about as soon as by a random start: the rest is one eigenvector that is known already.
_RANDOM_PART = 0.01
# The coarse stage ends where its residual is below this share of its own eigenvalue: what is left is then less than
# what sets the matrix of a tenth of the samples apart from that of all. A looser 0.1 saves 0.2 products, and at
# initialisation, where many eigenvalues are near the top, costs two on all samples.
_COARSE_RESIDUAL = 0.03


def lanczos(
    op: SymmetricOperator,
    max_products: int = 10,
    tolerance: float = 1e-3,
    initial: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    coarse_fraction: float | None = None,
    coarse_products: float = 2.0,
) -> LanczosResult:
    """The algebraically largest and smallest eigenvalue (Lanczos, 1950; Parlett, The Symmetric Eigenvalue Problem).

    Stops when lambda_max has converged, when the subspace is invariant (no product can add to it), or after
    ``max_products``. With ``coarse_fraction=0.1`` a coarse stage goes before: steps on a tenth of the samples, each a
    tenth of a product. Its Ritz vectors, weighted by the eighth power of their values, are where the steps on all
    samples start. All that is returned but ``products`` is of the stage on all samples: ``basis`` and ``tridiagonal``
    may deflate probes. A tenth should be a few hundred samples: of 500, a tenth is too few to save much.

    ``converged`` asks for bounds on two numbers, relative to |lambda_max|:

    - the error, residual^2 / gap with the gap taken to the next Ritz value, is at most half the tolerance. That is its
      usual size, and large while the two topmost Ritz values still part;
    - the residual is at most a tenth of the tolerance, and the second Ritz pair's a tenth of the gap. After a coarse
      stage, which has seen what is near the top: the residual is at most the tolerance.

    How little the Ritz value last moved does not count. What no method of this kind can know: a start orthogonal to the
    top eigenvector never finds it. No start is, but for a set of measure zero: a given one gets a random part, so that
    one that knows of another eigenvector only goes on to the top one. But a start may be nearly so: then it rests at
    an eigenvalue just below the top one, a relative w below, with a residual smaller than w. The second bound makes
    this rare: about 0.06 tolerance / w of the random starts, and 0.6 tolerance / w of those whose coarse stage cannot
    tell the two apart. Of equal eigenvalues one is found.

    The device is waited for once a step, after the product. Memory: a vector for each product on all samples; before
    them, and released, for each step of the coarse stage, ``coarse_products / coarse_fraction`` at most; three more.

    Args:
        op: the operator; with a coarse stage one that has ``subset``, as :class:`estimators.HessianOperator`.
        max_products: at most so many products, those of the coarse stage included as the fractions they are.
        tolerance: relative to |lambda_max|; 0.0 uses every product.
        initial: where to start [size], of any length but zero; a random part of a hundredth of its length is added.
            None: standard normal. Last epoch's eigenvector saves little while training moves; not with a coarse stage.
        generator: the stream of all that is random, on any device; None: torch's global CPU stream. For deflated
            probes, take another stream than theirs.
        coarse_fraction: the share of the samples that the coarse stage looks at, in (0, 1). None: no coarse stage.
        coarse_products: at most so many products, fractions added up, go to the coarse stage. It stops before where
            its own residual is below 3% of its eigenvalue.

    Raises:
        ValueError: if max_products is below 1, tolerance is negative or NaN, initial is no usable vector,
            coarse_fraction is outside (0, 1) or goes with an initial vector, the operator has no subsets, or there
            is no room for a product of each stage.
    """
    _check(max_products, tolerance)
    if initial is not None and coarse_fraction is not None:
        raise ValueError("initial and coarse_fraction exclude each other: the coarse stage finds where to start")
    products_before = op.products
    after_coarse = coarse_fraction is not None
    if coarse_fraction is not None:
        coarse = _coarse_operator(op, coarse_fraction)
        coarse_steps = _coarse_steps(coarse_fraction, coarse_products, max_products)
    start = _start(op, initial, generator)
    with keeping_graphs(op):
        if coarse_fraction is not None:
            found = _krylov(coarse, start, coarse_steps, lambda ritz: ritz.relative_residual <= _COARSE_RESIDUAL)
            if found.ritz.finite:
                start = _start(op, found.combined(found.ritz.weighted()), generator)
            del found  # its basis, before that of all samples is made
        # Tenths do not add up to whole products in floating point, and a tenth of five samples is one of them.
        left = max(1, math.floor(max_products - (op.products - products_before) + 1e-6))
        space = _krylov(op, start, left, lambda ritz: ritz.converged(tolerance, after_coarse))
    ritz = space.ritz
    return LanczosResult(
        lambda_max=ritz.values[-1],
        lambda_min=ritz.values[0],
        residual=ritz.residual(-1),
        lambda_min_residual=ritz.residual(0),
        error=ritz.error,
        converged=ritz.converged(tolerance, after_coarse),
        products=op.products - products_before,
        history=space.history,
        vector=space.combined(ritz.vectors[:, -1]),
        basis=space.basis,
        tridiagonal=ritz.tridiagonal,
    )


@dataclass(frozen=True)
class _Krylov:
    """What the steps of Lanczos have found."""

    basis: Tensor  # [size, k], orthonormal columns
    ritz: Ritz
    history: tuple[float, ...]

    def combined(self, weights: Tensor) -> Tensor:
        """Basis vectors with weights [k], float64 on the CPU: [size], of unit length."""
        vector: Tensor = self.basis @ weights.to(self.basis.device, self.basis.dtype)
        unit: Tensor = vector / torch.linalg.vector_norm(vector)
        return unit


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


def _orthogonalised(vector: Tensor, rows: Tensor) -> Tensor:
    """The part of vector [size] orthogonal to orthonormal rows [k, size]. Twice is enough (Giraud et al., 2005)."""
    for _ in range(2):
        vector = vector - rows.T @ (rows @ vector)
    return vector


def _start(op: SymmetricOperator, given: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """A random vector, or the given one with a random part."""
    random = random_vector(op, generator)
    if given is None:
        return random
    start = _checked_initial(op, given)
    length: Tensor = _RANDOM_PART * torch.linalg.vector_norm(start) / torch.linalg.vector_norm(random)
    return start + length * random


def _coarse_operator(op: SymmetricOperator, fraction: float) -> SymmetricOperator:
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"coarse_fraction is {fraction}, expected a share of the samples in (0, 1): 0.1 is usual")
    subset = getattr(op, "subset", None)
    if subset is None:
        raise ValueError(
            f"coarse_fraction is {fraction}, but {type(op).__name__} has no subset(fraction) as HessianOperator has:"
            " leave coarse_fraction out"
        )
    coarse: SymmetricOperator = subset(fraction)
    return coarse


def _coarse_steps(fraction: float, coarse_products: float, max_products: int) -> int:
    """How many products of the subset the coarse stage may take; one on all samples is left to the other."""
    room = min(coarse_products, max_products - 1)
    if not room >= fraction:
        raise ValueError(
            f"coarse_products is {coarse_products} and max_products {max_products}, expected room for one product of"
            f" {fraction} of the samples and for one of all: 2.0 and 10 are usual"
        )
    return math.floor(room / fraction + 1e-6)


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

"""The Lanczos method with full reorthogonalisation: both ends of the spectrum, with residuals."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.operators import SymmetricOperator, keeping_graphs
from estimators.random_vectors import random_vector
from estimators.results import LanczosResult

# Two eigenvalues w apart, the upper one with a share r of the start much smaller than the lower one's, look like one
# with residual r w. For a random start r < 1/m has probability 2/(pi m): without a margin, one start in ten called
# the second of two eigenvalues 1% apart converged to 0.1%.
_MARGIN = 10.0


def lanczos(
    op: SymmetricOperator,
    max_products: int = 10,
    tolerance: float = 1e-3,
    initial: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> LanczosResult:
    """The algebraically largest and smallest eigenvalue (Lanczos, 1950; Parlett, The Symmetric Eigenvalue Problem).

    Stops when lambda_max has converged, when the subspace is invariant (no product can add to it), or after
    ``max_products``. ``converged`` asks for both of two bounds, relative to |lambda_max|:

    - residual <= tolerance / 10: some eigenvalue is that near to the Ritz value, with a margin (below);
    - residual^2 / gap <= tolerance, the gap taken to the next Ritz value: the usual size of the error, and large
      while the two topmost Ritz values still part.

    How little the Ritz value last moved does not count. What no method of this kind can know: a start orthogonal to
    the top eigenvector never finds it (in particular, ``initial`` set to another eigenvector is an invariant
    subspace at once, and "converges" there). A random start is not orthogonal, but may be nearly so: then it rests at
    an eigenvalue just below the top one, a relative w below, with a residual smaller than w. The margin makes this
    rare: about 0.06 tolerance / w of the starts. Of equal eigenvalues one is found.

    Args:
        op: the operator.
        max_products: at most so many products, and basis vectors of memory.
        tolerance: relative to |lambda_max|; 0.0 uses every product.
        initial: the start [size], of any length but zero. None: standard normal.
        generator: the stream of the start, on any device; None: torch's global CPU stream. For deflated probes, take
            another stream than theirs.

    Raises:
        ValueError: if max_products is below 1, tolerance is negative or NaN, or initial is no usable vector.
    """
    if max_products < 1:
        raise ValueError(f"max_products is {max_products}, expected at least 1: 10 is usual")
    if not tolerance >= 0.0:
        raise ValueError(f"tolerance is {tolerance}, expected at least 0.0 (use every product)")
    start = random_vector(op, generator) if initial is None else _checked_initial(op, initial)
    products_before = op.products
    rows = torch.empty(min(max_products, op.size), op.size, dtype=op.dtype, device=op.device)
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
            ritz = _ritz(diagonal, off_diagonal, beta, torch.finfo(op.dtype).eps, full=step + 1 == op.size)
            history.append(ritz.values[-1])
            if ritz.invariant or ritz.converged(tolerance) or not ritz.finite or step + 1 == len(rows):
                break
            off_diagonal.append(beta)
            rows[step + 1] = remainder / beta
    basis = rows[: len(diagonal)].T
    vector = basis @ ritz.vectors[:, -1].to(op.device, op.dtype)
    return LanczosResult(
        lambda_max=ritz.values[-1],
        lambda_min=ritz.values[0],
        residual=ritz.residual(-1),
        lambda_min_residual=ritz.residual(0),
        converged=ritz.converged(tolerance),
        products=op.products - products_before,
        history=tuple(history),
        vector=vector / torch.linalg.vector_norm(vector),
        basis=basis,
        tridiagonal=ritz.tridiagonal,
    )


@dataclass(frozen=True)
class _Ritz:
    """The Ritz pairs after a step."""

    values: list[float]  # ascending
    vectors: Tensor  # [k, k] float64: column i belongs to value i, in the Lanczos basis
    tridiagonal: Tensor  # [k, k] float64
    beta: float  # norm of what the next basis vector would be
    invariant: bool  # is the subspace invariant, to rounding?

    @property
    def finite(self) -> bool:
        return all(math.isfinite(value) for value in self.values) and math.isfinite(self.beta)

    def residual(self, index: int) -> float:
        """||A y - value y|| of a Ritz vector y: beta times its last component."""
        return self.beta * abs(float(self.vectors[-1, index]))

    def converged(self, tolerance: float) -> bool:
        if not self.finite:
            return False
        if self.invariant:
            return True
        residual, allowed = self.residual(-1), tolerance * abs(self.values[-1])
        gap = self.values[-1] - self.values[-2] if len(self.values) > 1 else math.inf
        return tolerance > 0.0 and residual <= allowed / _MARGIN and residual * residual <= allowed * gap


def _ritz(diagonal: list[float], off_diagonal: list[float], beta: float, rounding: float, full: bool) -> _Ritz:
    """Solve the tridiagonal eigenproblem in float64 on the CPU; ``full``: the basis spans the whole space."""
    size = len(diagonal)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if off_diagonal:
        sides = torch.tensor(off_diagonal, dtype=torch.float64)
        tridiagonal += torch.diag(sides, 1) + torch.diag(sides, -1)
    if not (torch.isfinite(tridiagonal).all() and math.isfinite(beta)):
        nothing = torch.full((size, size), math.nan, dtype=torch.float64)
        return _Ritz([math.nan] * size, nothing, tridiagonal, math.nan, invariant=False)
    values, vectors = torch.linalg.eigh(tridiagonal)
    scale = float(values.abs().max())
    # Below ten units in the last place of the largest eigenvalue, the next basis vector would be rounding noise.
    return _Ritz(values.tolist(), vectors, tridiagonal, beta, invariant=full or beta <= 10.0 * rounding * scale)


def _orthogonalised(vector: Tensor, rows: Tensor) -> Tensor:
    """The part of vector [size] orthogonal to orthonormal rows [k, size]. Twice is enough (Giraud et al., 2005)."""
    for _ in range(2):
        vector = vector - rows.T @ (rows @ vector)
    return vector


def _checked_initial(op: SymmetricOperator, initial: Tensor) -> Tensor:
    if initial.shape != (op.size,):
        raise ValueError(f"initial has shape {tuple(initial.shape)}, expected ({op.size},): one entry per parameter")
    start = initial.detach().to(op.device, op.dtype)
    norm = float(torch.linalg.vector_norm(start))
    if norm == 0.0 or not math.isfinite(norm):
        raise ValueError(f"initial has length {norm}, expected a finite one above zero: pass None for a random start")
    return start

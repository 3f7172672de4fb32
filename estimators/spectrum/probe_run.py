"""Lanczos from one random vector, orthogonal to given vectors."""

import torch
from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.operators.protocols import SymmetricOperator


class ProbeRun:
    """The Krylov space of one start vector, extended by products that are computed elsewhere, for several runs at once.

    Orthogonal to ``deflated`` [size, q]: the run is that of PAP with P = I - QQ'.
    """

    def __init__(self, op: SymmetricOperator, start: Tensor, steps: int, deflated: Tensor) -> None:
        self._dimension = op.size - deflated.shape[1]
        self._space = KrylovSpace(op, min(steps, self._dimension), deflated if deflated.shape[1] else None)
        self._space.start(start)
        #: Whether no product can extend the space: it is invariant, or a product was not finite.
        self.ended = False

    @property
    def steps(self) -> int:
        """Number of products."""
        return self._space.dimension

    @property
    def complete(self) -> bool:
        """Whether the run has all of its steps, or no product can extend it."""
        return self.ended or self.steps == self._space.capacity

    @property
    def last(self) -> Tensor:
        """[size]: the vector to be multiplied next."""
        return self._space.direction(-1)

    @property
    def basis(self) -> Tensor:
        """[size, k], orthonormal columns."""
        return self._space.basis

    @property
    def beta(self) -> float:
        """Norm of the next basis vector before normalisation; 0 if no product can extend the space."""
        return 0.0 if self.ended else float(self._space.coupling[0, -1])

    @property
    def tridiagonal(self) -> Tensor:
        """[k, k], float64 on the CPU."""
        return self._space.projected

    def extend(self, product: Tensor) -> None:
        """Takes A @ ``last``. Synchronizes with the device once."""
        self._space.expand(product=product)
        finite = bool(torch.isfinite(self.tridiagonal).all() and torch.isfinite(self._space.coupling).all())
        self.ended = not finite or self._space.directions == 0 or self.steps == self._dimension

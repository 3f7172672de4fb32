"""Lanczos from one random vector, orthogonal to given vectors."""

import math

import torch
from torch import Tensor

from estimators.eigenvalues.ritz import ROUNDING
from estimators.operators.inner_products import coefficients, dot, norm


class KrylovRun:
    """The basis and the tridiagonal matrix of one start vector, extended by one product at a time.

    Full reorthogonalisation, also against ``deflated`` [size, q]: the run is that of PAP with P = I - QQ'.
    """

    def __init__(self, start: Tensor, steps: int, deflated: Tensor) -> None:
        self._deflated = deflated
        start = self._projected(start)
        self._dimension = len(start) - deflated.shape[1]
        self._rows = torch.empty(min(steps, self._dimension), len(start), dtype=start.dtype, device=start.device)
        self._rows[0] = start / norm(start)
        self._eps = torch.finfo(start.dtype).eps
        self._diagonal: list[float] = []
        self._off_diagonal: list[float] = []
        # A lower bound of ||A||, up to a factor of two.
        self._scale = 0.0
        #: Whether no product can extend the space: it is invariant, or a product was not finite.
        self.ended = False

    @property
    def steps(self) -> int:
        """Number of products."""
        return len(self._diagonal)

    @property
    def complete(self) -> bool:
        """Whether the run has all of its steps, or no product can extend it."""
        return self.ended or self.steps == len(self._rows)

    @property
    def last(self) -> Tensor:
        """[size]: the vector to be multiplied next."""
        return self._rows[self.steps]

    @property
    def basis(self) -> Tensor:
        """[size, k], orthonormal columns."""
        return self._rows[: self.steps].T

    @property
    def beta(self) -> float:
        """Norm of the next basis vector before normalisation; 0 if no product can extend the space."""
        return 0.0 if self.ended else self._off_diagonal[-1]

    @property
    def tridiagonal(self) -> Tensor:
        """[k, k], float64 on the CPU."""
        diagonal = torch.tensor(self._diagonal, dtype=torch.float64)
        sides = torch.tensor(self._off_diagonal[: self.steps - 1], dtype=torch.float64)
        return torch.diag(diagonal) + torch.diag(sides, 1) + torch.diag(sides, -1)

    def extend(self, product: Tensor) -> None:
        """Takes A @ ``last``. Synchronizes with the device once."""
        step = self.steps
        alpha = dot(self._rows[step], product)
        remainder = product
        # Two orthogonalisations are enough (Giraud et al., 2005).
        for _ in range(2):
            remainder = remainder - self._rows[: step + 1].T @ coefficients(self._rows[: step + 1], remainder)
            remainder = self._projected(remainder)
        alpha_value, beta = torch.stack([alpha, norm(remainder)]).tolist()
        self._diagonal.append(alpha_value)
        self._off_diagonal.append(beta)
        self._scale = max(self._scale, abs(alpha_value), beta)
        # A smaller beta is rounding noise: the space is invariant. The negation also ends the run if beta is NaN.
        self.ended = self.steps == self._dimension or not ROUNDING * self._eps * self._scale < beta < math.inf
        if not self.ended and step + 1 < len(self._rows):
            self._rows[step + 1] = remainder / beta

    def _projected(self, vector: Tensor) -> Tensor:
        if not self._deflated.shape[1]:
            return vector
        return vector - self._deflated @ coefficients(self._deflated.T, vector)

"""Probabilistic bounds for eigenvalues that a Krylov space has missed."""

import math
from itertools import zip_longest

import torch
from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace

PROBABILITY = 0.01
"""Probability that a missed eigenvalue exceeds the bound."""
# The search interval of the bound, in units of the largest entry of the tridiagonal matrix.
_WIDEST = 1e3
# Halvings of that interval, down to rounding.
_BISECTIONS = 60
# Far above every sum of squared polynomials that matters, and far below overflow.
_ENORMOUS = 1e100


class RandomChain:
    """A Lanczos chain that starts from a random vector outside a Krylov space and becomes part of the space.

    A Krylov space of one start vector contains one eigenvector per eigenvalue, and lacks eigenvectors orthogonal to the
    start. The chain is Lanczos for the matrix restricted to the complement of the space. The eigenvalues that the space
    has missed are eigenvalues of that restriction.

    Its bound is that of van Dorsselaer, Hochstenbach and van der Vorst (2000). Let c be the squared component of the
    start along a missed eigenvector of eigenvalue mu, and p_0, ..., p_s the orthonormal polynomials of s steps. Then
    c (p_0(mu)^2 + ... + p_s(mu)^2) <= 1. In n dimensions, P(c <= t) <= sqrt(2 n t / pi) for a random start.
    """

    def __init__(self, space: KrylovSpace, random: Tensor) -> None:
        """Adds ``random``, a standard normal vector [size], as the last direction of the space."""
        self._pairs = [space.ritz()]
        space.start(random)
        self._space = space
        self._size = len(random)
        self._diagonal: list[float] = []
        self._off_diagonal: list[float] = []

    @property
    def steps(self) -> int:
        """Number of products."""
        return len(self._diagonal)

    @property
    def exhausted(self) -> bool:
        """Whether the chain spans an invariant subspace, so that it has found the largest missed eigenvalue."""
        return self.steps > 0 and self._off_diagonal[-1] == 0.0

    def expand(self) -> None:
        """Extends the chain, for one product. No other direction may have been expanded since the chain began."""
        alpha, beta = self._space.expand()
        self._diagonal.append(alpha)
        self._off_diagonal.append(beta)
        self._pairs.append(self._space.ritz())

    def bound(self) -> float:
        """A missed eigenvalue exceeds this value with a probability of at most `PROBABILITY`; infinity if unknown."""
        largest = self.largest
        if not self.steps or self.exhausted:
            return largest if self.exhausted else math.inf
        low, high = largest, largest + _WIDEST * max(map(abs, self._diagonal + self._off_diagonal))
        if self._probability(high) > PROBABILITY:
            return math.inf
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            low, high = (low, middle) if self._probability(middle) <= PROBABILITY else (middle, high)
        return high

    def upper_bounds(self, outside: float) -> list[float]:
        """Upper bounds of the largest eigenvalues, descending: the smallest from the space before and after each step.

        ``outside``: an upper bound of the eigenvalues that the space before the chain has missed, such as `bound`.
        Ritz pairs of a short chain have large residuals, so that the bounds from the space before are often smaller.
        """
        bounds = [ritz.upper_bounds(outside) for ritz in self._pairs]
        return [min(values) for values in zip_longest(*bounds, fillvalue=math.inf)]

    def _probability(self, value: float) -> float:
        """A bound of the probability that the space missed an eigenvalue above ``value``, the largest Ritz value."""
        # The three-term recurrence, with p_(-1) = 0 and p_0 = 1.
        before, current, total, below = 0.0, 1.0, 1.0, 0.0
        for alpha, beta in zip(self._diagonal, self._off_diagonal, strict=True):
            before, current = current, ((value - alpha) * current - below * before) / beta
            total, below = total + current * current, beta
            if total > _ENORMOUS:
                return 0.0
        return math.sqrt(2.0 * self._size / (math.pi * total))

    @property
    def largest(self) -> float:
        """The largest Ritz value of the chain; minus infinity before the first step."""
        return float(self._eigenpairs()[0][-1]) if self.steps else -math.inf

    @property
    def residual(self) -> float:
        """The residual norm of the largest Ritz value; infinity before the first step."""
        return self._off_diagonal[-1] * abs(float(self._eigenpairs()[1][-1, -1])) if self.steps else math.inf

    def _eigenpairs(self) -> tuple[Tensor, Tensor]:
        inner = torch.tensor(self._off_diagonal[:-1], dtype=torch.float64)
        matrix = torch.diag(torch.tensor(self._diagonal, dtype=torch.float64))
        values, vectors = torch.linalg.eigh(matrix + torch.diag(inner, 1) + torch.diag(inner, -1))
        return values, vectors

"""The order in which a Krylov space is extended to find and check its largest Ritz pairs."""

import math
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.eigenvalues.random_chain import RandomChain
from estimators.eigenvalues.ritz import Ritz
from estimators.operators.protocols import SymmetricOperator
from estimators.operators.random_vectors import random_vector

# Dimension of the space before a restart: twice the number of eigenvalues, and this. On networks in training, five
# eigenvalues mostly converge without a restart.
_EXTRA = 30
# Number of Ritz vectors beyond the wanted ones that a restart keeps.
_KEPT = 5
# Smallest number of free dimensions when a random chain starts. A restart would end the chain.
_ROOM = 20
# Ritz vectors are kept when a random chain starts if their values are at least this share of the smallest wanted one.
_NEAR = 0.5
# Largest residual of the next pair when the first chain starts, relative to the smallest wanted value.
_SETTLED = 0.1
# If no chain has started when this many products are left, they are used for one. Without a chain, no pair converges.
_RESERVE = 8


def capacity(op: SymmetricOperator, k: int) -> int:
    """Maximum dimension of the space for k eigenvalues."""
    return min(op.size, 2 * k + _EXTRA)


@dataclass(frozen=True)
class Wanted:
    """How many eigenvalues are wanted, and how accurately."""

    k: int
    tolerance: float
    """Relative to each eigenvalue."""


class TopSearch:
    """Extends a space until its k largest Ritz pairs have converged.

    The bound for eigenvalues outside the space comes from random chains. Before the first chain it is infinite, and
    a guess decides when the pairs are accurate enough to start one.
    """

    def __init__(
        self, op: SymmetricOperator, space: KrylovSpace, wanted: Wanted, generator: torch.Generator | None
    ) -> None:
        self._op, self._space, self._wanted, self._generator = op, space, wanted, generator
        self._chain: RandomChain | None = None
        self._outside = math.inf
        # Upper bounds of the k + 1 largest eigenvalues, descending.
        self._upper = [math.inf] * (wanted.k + 1)

    def finished(self) -> bool:
        """Whether all pairs have converged, the basis is complete or a product was not finite."""
        if not self._space.dimension:
            return False
        ritz = self._space.ritz()
        complete = self._space.dimension == self._op.size
        return not ritz.finite or complete or self._accurate(ritz, self._outside)

    def expand(self, left: int) -> None:
        """Extends the space by one product. ``left``: number of products left, including this one."""
        space = self._space
        if space.dimension == space.capacity:
            self._restart(self._wanted.k + _KEPT)
        if not space.dimension or self._grows(left):
            self._grow()
            return
        if self._chain is None:
            if space.capacity < self._op.size:
                self._restart(self._useful(space.ritz()))
            self._chain = RandomChain(space, random_vector(self._op, self._generator))
        self._extend(self._chain)

    def pairs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Values, residuals and errors, each [k] float64, and vectors [size, k], with the largest value first."""
        k, ritz = self._wanted.k, self._space.ritz()
        if not ritz.finite:
            nothing = torch.full((k,), math.nan, dtype=torch.float64)
            return nothing, nothing, nothing, self._space.basis[:, :1].expand(-1, k) * math.nan
        outside = -math.inf if self._space.dimension == self._op.size else self._outside
        residuals = [max(ritz.residual(-1 - index), ritz.rounding) for index in range(k)]
        values, errors = list(reversed(ritz.values))[:k], self._errors(ritz, outside)[:k]
        vectors = self._space.basis @ ritz.vectors.flip(1)[:, :k].to(self._op.device, self._op.dtype)
        found = [torch.tensor(numbers, dtype=torch.float64) for numbers in (values, residuals, errors)]
        return found[0], found[1], found[2], vectors

    def gap(self) -> float:
        """Lower bound of the distance from the k-th Ritz value to the next eigenvalue; at most 0 if it is unknown."""
        k, ritz = self._wanted.k, self._space.ritz()
        if self._space.dimension == self._op.size == k:
            return math.inf
        if not ritz.finite or self._space.dimension <= k:
            return -math.inf
        outside = -math.inf if self._space.dimension == self._op.size else self._outside
        return ritz.values[-k] - (ritz.values[-k - 1] + self._errors(ritz, outside)[k])

    def _grows(self, left: int) -> bool:
        """Whether to extend the Krylov space rather than a random chain. Ends a chain that has found its eigenvalue."""
        if not self._space.directions:
            self._chain = None
            return False
        ritz = self._space.ritz()
        looks_accurate = self._looks_accurate(ritz)
        if self._chain is None:
            unchecked = self._outside == math.inf and left <= _RESERVE
            return not (looks_accurate or unchecked)
        if not self._chain.exhausted:
            if self._accurate(ritz, self._chain.largest):
                return False  # The bound approaches the largest Ritz value of the chain.
            if self._chain.residual > self._wanted.tolerance * abs(self._chain.largest):
                return not (looks_accurate or self._outside == math.inf)
        self._chain = None
        return not looks_accurate

    def _grow(self) -> None:
        """Expands the direction with the largest share of the residuals of the wanted pairs."""
        space, last = self._space, self._space.directions - 1
        chosen = last
        if space.dimension:
            wanted = space.ritz().vectors[:, -self._wanted.k :]
            chosen = int(torch.linalg.vector_norm(space.coupling @ wanted, dim=1).argmax())
        if self._chain is not None and chosen == last:
            self._extend(self._chain)
        else:
            self._chain = None
            space.expand(chosen)

    def _extend(self, chain: RandomChain) -> None:
        chain.expand()
        self._outside = min(self._outside, chain.bound())
        self._upper = _smaller(self._upper, chain.upper_bounds(self._outside))

    def _errors(self, ritz: Ritz, outside: float) -> list[float]:
        """Bounds of the errors of at most k + 1 values, descending, if ``outside`` bounds what the space has missed."""
        upper = _smaller(self._upper, ritz.upper_bounds(outside))
        if self._chain is not None and outside > -math.inf:
            upper = _smaller(upper, self._chain.upper_bounds(outside))
        pairs = zip(upper, reversed(ritz.values), strict=False)
        return [max(bound - value, ritz.rounding) for bound, value in pairs]

    def _looks_accurate(self, ritz: Ritz) -> bool:
        """Whether the pairs have converged, if no eigenvalue that was missed exceeds a guess.

        The guess is halfway from the next Ritz value to the wanted ones. Before the first chain, the residual of the
        next pair must be small as well. Otherwise the next eigenvalue may be much larger, and a chain is slow.
        """
        k, size = self._wanted.k, len(ritz.values)
        if size <= k:
            return False
        if self._outside == math.inf and ritz.residual(-k - 1) > _SETTLED * abs(ritz.values[-k]):
            return False
        guess = (ritz.values[-k] + ritz.values[-k - 1]) / 2.0
        return self._within(ritz.part(range(size - k, size)).top_errors(k, guess), ritz)

    def _accurate(self, ritz: Ritz, outside: float) -> bool:
        return len(ritz.values) >= self._wanted.k and self._within(self._errors(ritz, outside), ritz)

    def _within(self, errors: list[float], ritz: Ritz) -> bool:
        """Whether the errors of the k largest pairs are within the tolerance."""
        wanted = zip(errors[: self._wanted.k], reversed(ritz.values), strict=False)
        return all(error <= self._wanted.tolerance * abs(value) for error, value in wanted)

    def _useful(self, ritz: Ritz) -> int:
        """Number of Ritz vectors to keep when a chain starts.

        Small Ritz values have large residuals, which would raise the bounds of the wanted ones. In the complement of
        the space they do not matter, because eigenvalues there need only be below the wanted ones.
        """
        k, values = self._wanted.k, ritz.values
        near = sum(value >= _NEAR * values[-k] for value in values) if len(values) > k else k
        return min(max(near, k), self._space.capacity - _ROOM)

    def _restart(self, kept: int) -> None:
        """Keeps the largest Ritz vectors, if there are more. The bound then covers those that are dropped."""
        size = self._space.dimension
        dropped = size - kept
        if dropped <= 0:
            return
        self._outside = self._space.ritz().part(range(dropped)).upper_bounds(self._outside)[0]
        self._space.restart(range(dropped, size))
        self._chain = None


def _smaller(first: list[float], second: list[float]) -> list[float]:
    """The smaller of two bounds of each eigenvalue. The second list may bound fewer, or more, than the first."""
    return [min(pair) for pair in zip_longest(first, second[: len(first)], fillvalue=math.inf)]

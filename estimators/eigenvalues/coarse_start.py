"""Where Lanczos starts: a pass over the data that turns the gradient, chunk by chunk, to the top eigenvectors."""

import torch
from torch import Tensor

from estimators.operators.protocols import SampledOperator

# A step adds this share of its length along the vector: what lies along negative eigenvalues shrinks, and the noise of
# one chunk is averaged over some.
_SHIFT = 0.25
# Of the second vector in the start. With the first alone a start may hold the second eigenvector and next to nothing of
# the topmost one: Lanczos then rests there, 5% below, and cannot know. Tried: 0.25 still does, from 0.5 on it costs
# products (benchmarks/README.md).
_SECOND = 0.35

# Chunks that are passed over: twelve steps of each vector. More brought Lanczos no sooner to its end.
_STEPS = 24


def coarse_start(op: SampledOperator, otherwise: Tensor) -> Tensor:
    """A unit vector [size] near the topmost eigenvectors, for the price of one product or less.

    The gradient lies near them at any time of training (Gur-Ari et al., 2018), before it as well. From there, chunks of
    samples make steps of the shifted power method, each with its own matrix, so that each one's noise is independent of
    the others' (Oja, 1982). Every other chunk moves a second vector, orthogonal to the first. Later iterates are
    averaged, by weights that grow with the step (Polyak and Juditsky, 1992).

    Args:
        op: its samples are expected in random order.
        otherwise: where to begin [size] if the gradient is zero.
    """
    gradient = op.gradient()
    pair = _Pair(_unit(gradient if bool(gradient.any()) else otherwise))
    op.chunkwise(pair.first.vector, pair.move, _STEPS)
    first = pair.first.average
    return _unit(first + _SECOND * _unit(_apart(pair.second.average, first)))


class _Iterate:
    """A vector that the shifted power method moves, and the average of where it was, the t-th time with weight t^2."""

    def __init__(self, vector: Tensor) -> None:
        self.vector = vector
        self._total, self._steps = torch.zeros_like(vector), 0

    def step(self, product: Tensor, apart_from: Tensor | None = None) -> None:
        length = torch.linalg.vector_norm(product)
        # A chunk may have no curvature along the vector.
        share = torch.where(length == 0.0, 1.0, _SHIFT * length)
        moved = torch.addcmul(product, self.vector, share)
        self.vector = _unit(moved if apart_from is None else _apart(moved, apart_from))
        self._steps += 1
        self._total.add_(self.vector, alpha=self._steps**2)

    @property
    def average(self) -> Tensor:
        return _unit(self._total) if self._steps else self.vector


class _Pair:
    """Two vectors that take turns; the second begins where the first one's first product leads beside it."""

    def __init__(self, start: Tensor) -> None:
        self.first = _Iterate(start)
        self.second = _Iterate(torch.zeros_like(start))
        self._moved = 0

    def move(self, _: Tensor, product: Tensor) -> Tensor:
        if self._moved == 0:
            self.second = _Iterate(_unit(_apart(product, self.first.vector)))
        turn_of_second = self._moved % 2 == 1
        self._moved += 1
        if turn_of_second:
            self.second.step(product, apart_from=self.first.vector)
            return self.first.vector
        self.first.step(product)
        return self.second.vector


def _apart(vector: Tensor, unit: Tensor) -> Tensor:
    """The part of a vector that is orthogonal to a unit vector."""
    return torch.addcmul(vector, unit, -torch.dot(vector, unit))


def _unit(vector: Tensor) -> Tensor:
    """Of length 1; zero stays zero."""
    length = torch.linalg.vector_norm(vector)
    unit: Tensor = vector / torch.where(length == 0.0, torch.ones_like(length), length)
    return unit

"""The start vector of Lanczos: a pass over the data that turns the gradient towards the top eigenvectors."""

import torch
from torch import Tensor

from estimators.operators.protocols import SampledOperator

# Shift of the power method, relative to the length of the product. It damps eigenvectors of negative eigenvalues and
# averages the noise of single chunks.
_SHIFT = 0.25
# Weight of the second vector. From the first alone, Lanczos may stagnate at the second eigenvalue, 5% below the
# largest, undetected. It still does at a weight of 0.25; from 0.5 on it needs more products (benchmarks/README.md).
_SECOND = 0.35
# Chunks of the pass: 12 steps for each vector. More steps did not make Lanczos converge sooner.
_STEPS = 24


def coarse_start(op: SampledOperator, fallback: Tensor) -> Tensor:
    """A unit vector [size] close to the span of the top eigenvectors, at the cost of one product or less.

    The gradient is close to that span during training (Gur-Ari et al., 2018), and before its first step too. From
    there, every chunk of samples makes one step of the shifted power method. Each step uses the matrix of its own
    chunk, so the noise of the steps is independent (Oja, 1982). Every other chunk moves a second vector, orthogonal to
    the first. The iterates are averaged with weights that grow with the step (Polyak and Juditsky, 1992).

    Args:
        op: its samples must be in random order.
        fallback: the start [size] if the gradient is zero.
    """
    gradient = op.gradient()
    pair = _Pair(_unit(gradient if bool(gradient.any()) else fallback))
    op.chunkwise(pair.first.vector, pair.move, _STEPS)
    first = pair.first.average
    return _unit(first + _SECOND * _unit(_orthogonal_component(pair.second.average, first)))


class _Iterate:
    """A vector moved by the shifted power method, and the average of its positions with weight t^2 at step t."""

    def __init__(self, vector: Tensor) -> None:
        self.vector = vector
        self._total, self._steps = torch.zeros_like(vector), 0

    def step(self, product: Tensor, orthogonal_to: Tensor | None = None) -> None:
        length = torch.linalg.vector_norm(product)
        # If the chunk has no curvature along the vector, the vector stays.
        shift = torch.where(length == 0.0, 1.0, _SHIFT * length)
        moved = torch.addcmul(product, self.vector, shift)
        self.vector = _unit(moved if orthogonal_to is None else _orthogonal_component(moved, orthogonal_to))
        self._steps += 1
        self._total.add_(self.vector, alpha=self._steps**2)

    @property
    def average(self) -> Tensor:
        return _unit(self._total) if self._steps else self.vector


class _Pair:
    """Two vectors that move in turn. The second starts as the part of the first product orthogonal to the first."""

    def __init__(self, start: Tensor) -> None:
        self.first = _Iterate(start)
        self.second = _Iterate(torch.zeros_like(start))
        self._moved = 0

    def move(self, _: Tensor, product: Tensor) -> Tensor:
        """Steps the vector that ``product`` belongs to and returns the other one, which the next chunk multiplies."""
        if self._moved == 0:
            self.second = _Iterate(_unit(_orthogonal_component(product, self.first.vector)))
        turn_of_second = self._moved % 2 == 1
        self._moved += 1
        if turn_of_second:
            self.second.step(product, orthogonal_to=self.first.vector)
            return self.first.vector
        self.first.step(product)
        return self.second.vector


def _orthogonal_component(vector: Tensor, unit: Tensor) -> Tensor:
    return torch.addcmul(vector, unit, -torch.dot(vector, unit))


def _unit(vector: Tensor) -> Tensor:
    """The vector scaled to length 1; zero stays zero."""
    length = torch.linalg.vector_norm(vector)
    unit: Tensor = vector / torch.where(length == 0.0, torch.ones_like(length), length)
    return unit

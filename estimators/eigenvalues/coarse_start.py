"""The start vector of Lanczos, from one pass over the data that turns the gradient towards the top eigenvectors."""

import torch
from torch import Tensor

from estimators.operators.protocols import SampledOperator

# Shift of the power method, relative to the length of the product. It damps eigenvectors of negative eigenvalues and
# averages the noise of single chunks.
_SHIFT = 0.25
# Weight of the second vector. Started from the first vector alone, Lanczos may stagnate undetected at the second
# eigenvalue, 5% below the largest. This still happens at a weight of 0.25. At 0.5 and above, Lanczos needs more
# products (benchmarks/README.md).
_SECOND = 0.35
# Maximum number of chunks in the pass: 12 steps for each vector. More steps did not make Lanczos converge sooner.
_STEPS = 24


def coarse_start(op: SampledOperator, fraction: float, fallback: Tensor) -> Tensor:
    """Returns a unit vector [size] close to the span of the top eigenvectors, at the cost of at most one product.

    The gradient is close to that span during training (Gur-Ari et al., 2018), and also before the first training step.
    Starting from the gradient, each chunk of samples makes one step of the shifted power method. A step uses only the
    matrix of its chunk, so the noise of the steps is independent (Oja, 1982). Chunks alternate between two vectors; the
    second is kept orthogonal to the first. The iterates are averaged with weights that grow with the step (Polyak and
    Juditsky, 1992).

    Args:
        op: the operator, with its samples in random order.
        fraction: maximum share of the samples in a step. If the operator's own chunks are smaller, it keeps them.
        fallback: the start vector [size] if the gradient is zero.
    """
    gradient = op.gradient()
    pair = _Pair(_unit(gradient if bool(gradient.any()) else fallback))
    # Only this pass uses small chunks. Of a hundred samples in ten chunks, a product takes several times as long.
    op.in_chunks(fraction).chunkwise(pair.vectors[0], pair.step, _STEPS)
    first = pair.average(0)
    return _unit(first + _SECOND * _unit(_orthogonal_component(pair.average(1), first)))


class _Pair:
    """Two vectors that are updated in turn by the shifted power method, and their averages."""

    def __init__(self, start: Tensor) -> None:
        self.vectors = [start, torch.zeros_like(start)]
        self._totals = [torch.zeros_like(start), torch.zeros_like(start)]
        self._steps = 0

    def step(self, _: Tensor, product: Tensor) -> Tensor:
        """Updates one vector with its ``product`` and returns the other vector, to be multiplied by the next chunk."""
        if self._steps == 0:
            self.vectors[1] = _unit(_orthogonal_component(product, self.vectors[0]))
        turn = self._steps % 2
        length = torch.linalg.vector_norm(product)
        # If the chunk has no curvature along the vector, the vector stays.
        shift = torch.where(length == 0.0, 1.0, _SHIFT * length)
        moved = torch.addcmul(product, self.vectors[turn], shift)
        self.vectors[turn] = _unit(moved if turn == 0 else _orthogonal_component(moved, self.vectors[0]))
        self._totals[turn].add_(self.vectors[turn], alpha=(self._steps // 2 + 1) ** 2)
        self._steps += 1
        return self.vectors[1 - turn]

    def average(self, index: int) -> Tensor:
        """Average direction of a vector; its iterate after step t has weight t^2."""
        return _unit(self._totals[index]) if self._steps > index else self.vectors[index]


def _orthogonal_component(vector: Tensor, unit: Tensor) -> Tensor:
    return torch.addcmul(vector, unit, -torch.dot(vector, unit))


def _unit(vector: Tensor) -> Tensor:
    """Returns the vector scaled to length 1. A zero vector stays zero."""
    length = torch.linalg.vector_norm(vector)
    unit: Tensor = vector / torch.where(length == 0.0, torch.ones_like(length), length)
    return unit

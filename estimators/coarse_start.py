"""Where Lanczos starts: a pass over the data that turns the gradient, chunk by chunk, to the top eigenvector."""

import torch
from torch import Tensor

from estimators.operators import SampledOperator

# A step adds this share of its length along the vector: what lies along negative eigenvalues shrinks, and the noise of
# one chunk is averaged over some.
_SHIFT = 0.25


def coarse_start(op: SampledOperator, otherwise: Tensor) -> Tensor:
    """A unit vector [size] near the top eigenvectors, for the price of one product.

    The gradient lies near them at any time of training (Gur-Ari et al., 2018), before it as well. From there, each
    chunk of samples makes a step of the shifted power method with its own matrix: of n chunks n steps, each one's noise
    independent of the others' (Oja, 1982). Later iterates are averaged, by weights that grow with the step (Polyak and
    Juditsky, 1992).

    Args:
        op: its samples are expected in random order.
        otherwise: where to begin [size] if the gradient is zero.
    """
    gradient = op.gradient()
    average = _Average(gradient)

    def move(vector: Tensor, product: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(product)
        # A chunk may have no curvature along the vector.
        direction = torch.where(length == 0.0, vector, product / length)
        moved = _unit(direction + _SHIFT * vector)
        average.add(moved)
        return moved

    op.chunkwise(_unit(gradient if bool(gradient.any()) else otherwise), move)
    return _unit(average.total)


class _Average:
    """Of vectors, the t-th with weight t^2."""

    def __init__(self, like: Tensor) -> None:
        self.total = torch.zeros_like(like)
        self._count = 0

    def add(self, vector: Tensor) -> None:
        self._count += 1
        self.total.add_(vector, alpha=self._count**2)


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / torch.linalg.vector_norm(vector)
    return unit

"""The curvature of the loss along its gradient."""

import math

import torch
from torch import Tensor

from estimators.operators.protocols import SampledOperator, keeping_graphs, without_autocast


@without_autocast
def gradient_curvature(op: SampledOperator) -> float:
    """Returns g'Ag / g'g for the gradient g of the mean loss. Exact up to rounding, for one product.

    With `estimators.HessianOperator` it is the second derivative of the loss along the direction of steepest descent. A
    gradient step decreases the loss if its learning rate is below 2 / (g'Hg / g'g). NaN if the gradient is zero
    or not finite.

    Args:
        op: A, with a gradient: a Hessian, a Gauss-Newton matrix, a block of one, or a preconditioned one.

    Raises:
        ValueError: if op has no gradient.

    >>> from torch import nn
    >>> from estimators import HessianOperator
    >>> model = nn.Linear(1, 1, bias=False)
    >>> gradient_curvature(HessianOperator(model, nn.functional.mse_loss, (torch.ones(8, 1), torch.zeros(8, 1))))
    2.0
    """
    if not isinstance(op, SampledOperator):
        raise ValueError(
            f"op is a {type(op).__name__} without a gradient, expected an operator of a loss: pass a HessianOperator"
        )
    with keeping_graphs(op):
        return curvature_along(op, op.gradient())


def curvature_along(op: SampledOperator, direction: Tensor) -> float:
    """Returns v'Av / v'v for a direction v [size], for one product. NaN if the direction is zero or not finite."""
    # Lengths and scalar products in float64: squares of small float32 numbers would vanish.
    length = torch.linalg.vector_norm(direction.double())
    if not 0.0 < float(length) < math.inf:
        return math.nan
    unit = (direction.double() / length).to(op.dtype)
    exact = unit.double()
    return float(torch.dot(exact, op.matvec(unit).double()) / torch.dot(exact, exact))

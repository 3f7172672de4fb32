"""A matrix in the geometry of an optimizer's preconditioner."""

from typing import Self

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator
from estimators.operators.transformed.wrapped import WrappedOperator


class PreconditionedOperator(WrappedOperator):
    """P^-1/2 A P^-1/2 [size, size] for a positive diagonal P. Its eigenvalues are those of P^-1 A.

    In the coordinates u = P^1/2 w, the step ``w -= lr * gradient / P`` of an optimizer is plain gradient descent. The
    Hessian in these coordinates is P^-1/2 H P^-1/2, and its largest eigenvalue decides stability (Cohen et al., 2022).
    An eigenvector u of this matrix gives the eigenvector P^-1/2 u of P^-1 A; see `to_parameters`. A product costs one
    product of ``op``, which counts it.

    Args:
        op: A, such as `estimators.HessianOperator`.
        preconditioner: the diagonal of P [size], positive, of the dtype and on the device of ``op``.

    Raises:
        ValueError: if the preconditioner has the wrong type, shape, dtype or device, or an entry that is not positive
            and finite.

    >>> from torch import nn
    >>> from estimators import HessianOperator
    >>> model = nn.Linear(1, 1, bias=False)
    >>> hessian = HessianOperator(model, nn.functional.mse_loss, (torch.ones(8, 1), torch.zeros(8, 1)))
    >>> PreconditionedOperator(hessian, torch.tensor([4.0])) @ torch.ones(1)
    tensor([0.5000])
    """

    def __init__(self, op: SymmetricOperator, preconditioner: Tensor) -> None:
        super().__init__(op)
        _check(op, preconditioner)
        self._scale = preconditioner.detach().rsqrt()

    def to_parameters(self, vector: Tensor) -> Tensor:
        """P^-1/2 @ vector [size]: a direction in the coordinates of this matrix as a direction of the parameters."""
        return self._scale * vector

    def _like(self, op: SymmetricOperator) -> Self:
        other = type(self).__new__(type(self))
        other.op, other._scale = op, self._scale
        return other

    def _before(self, vector: Tensor) -> Tensor:
        return self._scale * vector

    def _after(self, vector: Tensor, product: Tensor) -> Tensor:
        return self._scale * product

    def _gradient(self, gradient: Tensor) -> Tensor:
        return self._scale * gradient


def _check(op: SymmetricOperator, preconditioner: Tensor) -> None:
    if not isinstance(preconditioner, Tensor):
        raise ValueError(
            f"preconditioner is a {type(preconditioner).__name__}, expected a tensor of shape ({op.size},):"
            " pass the diagonal of P"
        )
    found = (tuple(preconditioner.shape), preconditioner.dtype, preconditioner.device)
    expected = ((op.size,), op.dtype, op.device)
    if found != expected:
        raise ValueError(
            f"preconditioner has shape, dtype and device {', '.join(map(str, found))}, expected"
            f" {', '.join(map(str, expected))}: pass one entry per parameter, in the order of the operator's vectors"
        )
    wrong = ~(torch.isfinite(preconditioner) & (preconditioner > 0.0))
    if bool(wrong.any()):
        position = int(wrong.nonzero()[0])
        raise ValueError(
            f"preconditioner[{position}] is {float(preconditioner[position])}, expected positive finite entries:"
            " add the optimizer's eps to the diagonal"
        )

"""A matrix plus a multiple of the identity, such as the Hessian of a loss with a weight penalty."""

import math
from typing import Self

from torch import Tensor

from estimators.operators.protocols import SymmetricOperator
from estimators.operators.transformed.wrapped import WrappedOperator


class ShiftedOperator(WrappedOperator):
    """A + shift * I [size, size].

    With shift = weight_decay it is the Hessian of L(w) + weight_decay / 2 ||w||^2, where A is the Hessian of L. A
    product costs one product of ``op``. Its `gradient` is that of L, without the penalty.

    Args:
        op: A, such as `estimators.HessianOperator`.
        shift: a finite number.

    Raises:
        ValueError: if shift is not finite.

    >>> import torch
    >>> from torch import nn
    >>> from estimators import HessianOperator
    >>> model = nn.Linear(1, 1, bias=False)
    >>> hessian = HessianOperator(model, nn.functional.mse_loss, (torch.ones(8, 1), torch.zeros(8, 1)))
    >>> ShiftedOperator(hessian, 0.5) @ torch.ones(1)
    tensor([2.5000])
    """

    def __init__(self, op: SymmetricOperator, shift: float) -> None:
        super().__init__(op)
        if not math.isfinite(shift):
            raise ValueError(f"shift is {shift}, expected a finite number: pass the weight decay")
        self.shift = float(shift)

    def _like(self, op: SymmetricOperator) -> Self:
        return type(self)(op, self.shift)

    def _after(self, vector: Tensor, product: Tensor) -> Tensor:
        return product.add(vector, alpha=self.shift)

"""Tests ShiftedOperator against the Hessian of a loss with a weight penalty."""

import math

import pytest
import torch
from torch import Tensor, nn

from estimators import HessianOperator, PreconditionedOperator, ShiftedOperator, lanczos
from tests.estimators.cases import (
    MatrixOperator,
    assert_relatively_close,
    columns,
    random_vector,
    seeded,
    smooth,
    symmetric,
    vectors,
)

DECAY = 0.3


def test_it_is_the_hessian_of_a_loss_with_a_weight_penalty() -> None:
    model = smooth().double()

    def penalised(outputs: Tensor, targets: Tensor) -> Tensor:
        penalty = torch.stack([p.square().sum() for p in model.parameters()]).sum()
        return nn.functional.mse_loss(outputs, targets) + DECAY / 2 * penalty

    expected = HessianOperator(model, penalised, vectors())
    op = ShiftedOperator(HessianOperator(model, nn.functional.mse_loss, vectors()), DECAY)
    assert_relatively_close(op @ random_vector(op), expected @ random_vector(op), 1e-10)
    assert_relatively_close(op @ columns(op, 2), expected @ columns(op, 2), 1e-10)


def test_lanczos_with_a_coarse_start_in_a_preconditioned_geometry() -> None:
    hessian = HessianOperator(smooth().double(), nn.functional.mse_loss, vectors(), chunk_size=3)
    whole = torch.stack([hessian @ unit for unit in torch.eye(hessian.size, dtype=torch.float64)])
    diagonal = torch.rand(hessian.size, dtype=torch.float64, generator=seeded(1)) + 0.1
    op = PreconditionedOperator(ShiftedOperator(hessian, DECAY), diagonal)
    expected = torch.linalg.eigvals((whole + DECAY * torch.eye(op.size)) / diagonal[:, None]).real.max()
    found = lanczos(op, op.size, 1e-9, generator=seeded(0), coarse_fraction=0.4)
    assert found.lambda_max == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("shift", [math.nan, math.inf])
def test_a_shift_that_is_not_finite_is_refused(shift: float) -> None:
    with pytest.raises(ValueError, match=f"shift is {shift}, expected a finite number"):
        ShiftedOperator(MatrixOperator(symmetric([1.0])), shift)

"""Losses that are not a mean over samples are found even if the losses of all samples are equal or very small."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from estimators.problem.loss.mean_check import MeanCheck
from tests.estimators.cases import seeded

F = nn.functional
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
WEIGHTS = torch.tensor([0.2, 1.0, 3.0])


def refused(loss_fn: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> bool:
    check = MeanCheck(loss_fn)
    check.add(outputs, targets)
    try:
        check.conclude()
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1.0, 24.0, 45.0])
def test_class_weights_are_found_at_small_and_equal_losses(scale: float, dtype: torch.dtype) -> None:
    """At scale 0 all samples have equal losses. At 24 the loss is 1e-10, and at 45 it is below all rounding."""
    outputs = (scale * F.one_hot(LABELS, 3)).to(dtype)
    for weighted in (nn.CrossEntropyLoss(WEIGHTS.to(dtype)), lambda z, y: F.cross_entropy(z, y, WEIGHTS.to(z.dtype))):
        assert refused(weighted, outputs, LABELS) == (scale < 45.0)
    assert not refused(F.cross_entropy, outputs, LABELS)
    assert not refused(nn.CrossEntropyLoss(label_smoothing=0.1), outputs, LABELS)


@pytest.mark.parametrize("zero", [True, False])
def test_different_numbers_of_ignored_targets_are_found(zero: bool) -> None:
    outputs = torch.randn(3, 3, 4, generator=seeded(0)) * (0.0 if zero else 1.0)
    equal = torch.tensor([[0, 1, 2, -100], [-100, 1, 2, 0], [1, -100, 0, 0]])
    different = equal.clone()
    different[0, 0] = -100
    assert not refused(F.cross_entropy, outputs, equal)
    assert refused(F.cross_entropy, outputs, different)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "loss_fn",
    [
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.binary_cross_entropy_with_logits,
        lambda z, y: F.mse_loss(z, y).reshape(1),
        lambda z, y: y.mean(),
        lambda z, y: z.sum() / len(z),
    ],
)
def test_means_are_accepted(loss_fn: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, scale: float) -> None:
    outputs = scale * torch.randn(7, 3, generator=seeded(0), dtype=dtype)
    assert not refused(loss_fn, outputs, (outputs > 0).to(dtype))


def test_losses_that_are_not_finite_pass() -> None:
    outputs = torch.tensor([[float("nan"), 0.0, 0.0], [0.0, 1.0, 2.0]])
    assert not refused(F.cross_entropy, outputs, LABELS[:2])

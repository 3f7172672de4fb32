"""Tests traces of cross-entropy with ignored targets against dense matrices."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from estimators import dense_hessian, exact_trace, sampled_trace
from tests.estimators.cases import seeded

Loss = Callable[[Tensor, Tensor], Tensor]
CLASSES, POSITIONS = 3, 4

# Two of four targets are ignored in each sample.
EQUALLY_MANY = torch.tensor([[0, -100, 2, -100], [-100, -100, 1, 1], [-100, 2, 0, -100], [1, 0, -100, -100]])
DIFFERENT = EQUALLY_MANY.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(1))
ONE_EACH = torch.tensor([[0, -100, 1, 2], [-100, 0, 1, 2], [2, 1, 0, -100], [0, 2, -100, 1]])
# Class 1 is ignored, once in each sample.
CLASS = ONE_EACH.where(ONE_EACH >= 0, 0)
# Every sample has targets 0, 1 and 2, so its total class weight is the same.
WEIGHTS = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

LOSSES: dict[str, tuple[Loss, Tensor]] = {
    "function": (cross_entropy, EQUALLY_MANY),
    "module": (nn.CrossEntropyLoss(), EQUALLY_MANY),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.2), EQUALLY_MANY),
    "a class is ignored": (nn.CrossEntropyLoss(ignore_index=1), CLASS),
    "smoothed, a class is ignored": (nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.2), CLASS),
    "weights": (nn.CrossEntropyLoss(weight=WEIGHTS), ONE_EACH),
    "weights, smoothed": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2), ONE_EACH),
}

all_losses = pytest.mark.parametrize("name", LOSSES)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, CLASSES * POSITIONS), nn.Unflatten(1, (CLASSES, POSITIONS))).double()


def inputs() -> Tensor:
    return 3.0 * torch.randn(4, 2, dtype=torch.float64, generator=seeded(1))


@all_losses
@pytest.mark.parametrize("chunk_size", [1, 3, 4])
def test_the_exact_trace_leaves_out_ignored_targets(name: str, chunk_size: int) -> None:
    loss_fn, targets = LOSSES[name]
    dense = dense_hessian(model(), loss_fn, (inputs(), targets))
    trace = exact_trace(model(), loss_fn, (inputs(), targets), chunk_size=chunk_size)
    assert trace.exact
    assert trace.value == pytest.approx(float(dense.trace()), rel=1e-10)


@all_losses
def test_the_sampled_trace_leaves_out_ignored_targets(name: str) -> None:
    loss_fn, targets = LOSSES[name]
    dense = dense_hessian(model(), loss_fn, (inputs(), targets))
    trace = sampled_trace(model(), loss_fn, (inputs(), targets), vectors=2000, generator=seeded(2))
    assert trace.standard_error < 0.02 * trace.value
    assert abs(trace.value - float(dense.trace())) < 4.0 * trace.standard_error


@pytest.mark.parametrize("trace", [exact_trace, sampled_trace])
@pytest.mark.parametrize("chunk_size", [1, 4])
def test_different_numbers_of_ignored_targets_are_refused(trace: Callable[..., object], chunk_size: int) -> None:
    with pytest.raises(ValueError, match="expected equal ones: loss_fn must be a mean over samples"):
        trace(model(), cross_entropy, (inputs(), DIFFERENT), chunk_size=chunk_size)


def test_a_sample_without_targets_is_refused() -> None:
    targets = EQUALLY_MANY.clone()
    targets[2] = -100
    with pytest.raises(ValueError, match="expected equal ones: loss_fn must be a mean over samples"):
        exact_trace(model(), cross_entropy, (inputs(), targets))

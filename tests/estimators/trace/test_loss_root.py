"""Tests loss roots against the Hessian with respect to the outputs, by column and as a mean over random signs."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from estimators.trace.loss_root import loss_root
from tests.estimators.cases import seeded
from tests.estimators.networks import labels, not_convex, values

F = nn.functional
PROBABILITIES = values(5).abs()

LOSSES = {
    "cross-entropy": (F.cross_entropy, labels(5)),
    "its module": (nn.CrossEntropyLoss(), labels(5)),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.2), labels(5)),
    "probabilities": (F.cross_entropy, PROBABILITIES),
    "smoothed probabilities": (nn.CrossEntropyLoss(label_smoothing=0.2), PROBABILITIES),
    "squared error": (F.mse_loss, values(5)),
    "its own module": (nn.MSELoss(), values(5)),
    "a function": (lambda z, y: F.cross_entropy(3.0 * z, y), labels(5)),
    "binary": (F.binary_cross_entropy_with_logits, torch.rand(5, 3, dtype=torch.float64, generator=seeded(1))),
    "not convex": (not_convex, values(5)),
    "linear": (lambda z, y: (z * y).mean(), values(5)),
    "constant": (lambda z, y: y.mean(), values(5)),
}

all_losses = pytest.mark.parametrize("name", LOSSES)


def hessians(loss_fn: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.stack(
        [
            torch.autograd.functional.hessian(lambda z, y=y: loss_fn(z[None], y[None]) + 0.0 * z.sum() ** 2, z)
            for z, y in zip(outputs, targets, strict=True)
        ]
    )


@all_losses
def test_sum_over_columns_equals_the_hessian(name: str) -> None:
    (loss_fn, targets), outputs = LOSSES[name], 2.0 * values(5)
    root = loss_root(loss_fn, outputs, targets)
    found = torch.zeros(5, 3, 3, dtype=torch.float64)
    for index in range(root.count):
        column, sign = root.column(index)
        found += (
            torch.as_tensor(sign, dtype=torch.float64).reshape(-1, 1, 1) * column.unsqueeze(2) * column.unsqueeze(1)
        )
    torch.testing.assert_close(found, hessians(loss_fn, outputs, targets), rtol=1e-12, atol=1e-14)


@all_losses
def test_the_mean_over_all_signs_is_the_hessian(name: str) -> None:
    (loss_fn, targets), outputs = LOSSES[name], 2.0 * values(5)
    root = loss_root(loss_fn, outputs, targets)
    found = torch.zeros(5, 3, 3, dtype=torch.float64)
    all_signs = list(itertools.product((-1.0, 1.0), repeat=root.signs))
    for signs in all_signs:
        for vector, sign in root.combinations(torch.tensor(signs, dtype=torch.float64).expand(5, -1)):
            found += sign * vector.unsqueeze(2) * vector.unsqueeze(1) / len(all_signs)
    torch.testing.assert_close(found, hessians(loss_fn, outputs, targets), rtol=1e-12, atol=1e-14)


def test_closed_forms_apply_to_plain_losses_only() -> None:
    outputs = values(5)
    counts = {name: loss_root(loss_fn, outputs, targets).count for name, (loss_fn, targets) in LOSSES.items()}
    # The general root finds the rank, which is 2 for any function of cross-entropy.
    assert counts["cross-entropy"] == counts["a function"] == 2
    assert counts["squared error"] == 3 and counts["linear"] == counts["constant"] == 0
    module = nn.CrossEntropyLoss()
    module.register_forward_hook(lambda _, __, loss: 4.0 * loss)
    column, _ = loss_root(module, outputs, labels(5)).column(0)
    plain, _ = loss_root(F.cross_entropy, outputs, labels(5)).column(0)
    assert not torch.allclose(column, plain)


def test_a_saturated_softmax_stays_finite() -> None:
    outputs = torch.tensor([[0.0, 200.0, -300.0], [500.0, 0.0, 0.0], [0.0, 0.0, 500.0]])
    root = loss_root(F.cross_entropy, outputs, torch.tensor([0, 1, 2]))
    for index in range(root.count):
        assert root.column(index)[0].isfinite().all()
    assert root.combinations(torch.ones(3, 3))[0][0].isfinite().all()

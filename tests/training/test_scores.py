"""Scores against scikit-learn, accumulated over batches."""

import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score
from torch import Tensor

from orchestrator.training.data.task import Task
from orchestrator.training.scores import SCORES
from tests.estimators.cases import seeded


def score(task: Task, outputs: Tensor, targets: Tensor, threshold: float = 0.0) -> float | None:
    found = SCORES[task](threshold)
    for batch in zip(outputs.split(7), targets.split(7), strict=True):
        found.add(*batch)
    return found.value()


def test_accuracy_of_classes() -> None:
    outputs, targets = torch.randn(30, 3, generator=seeded(0)), torch.randint(3, (30,), generator=seeded(1))
    assert score(Task.CLASSES, outputs, targets) == pytest.approx(accuracy_score(targets, outputs.argmax(1)))


def test_accuracy_of_tokens_leaves_out_positions_without_a_target() -> None:
    outputs, targets = torch.randn(30, 5, 3, generator=seeded(0)), torch.randint(3, (30, 5), generator=seeded(1))
    targets[:, 0] = -100
    expected = accuracy_score(targets[:, 1:].flatten(), outputs[:, 1:].argmax(2).flatten())
    assert score(Task.TOKENS, outputs, targets) == pytest.approx(expected)


def test_accuracy_of_labels_counts_each_label() -> None:
    outputs, targets = torch.randn(30, 4, generator=seeded(0)), torch.randint(2, (30, 4), generator=seeded(1)).float()
    expected = accuracy_score(targets.flatten(), (outputs.flatten() > 0).float())
    assert score(Task.LABELS, outputs, targets) == pytest.approx(expected)
    assert score(Task.LABELS, outputs + 0.5, targets, threshold=0.5) == pytest.approx(expected)


def test_r2_of_values() -> None:
    targets = torch.randn(30, 2, generator=seeded(0)) * torch.tensor([1.0, 5.0]) + 100.0
    outputs = targets + 0.3 * torch.randn(30, 2, generator=seeded(1))
    assert score(Task.VALUES, outputs, targets) == pytest.approx(r2_score(targets, outputs), rel=1e-6)


def test_r2_of_a_constant_value_is_not_defined() -> None:
    targets = torch.randn(9, 2, generator=seeded(0))
    assert score(Task.VALUES, targets[:1] + 1.0, targets[:1]) is None
    targets[:, 1] = 0.1
    assert score(Task.VALUES, targets, targets) is None

"""How well the outputs of a model match the targets: accuracy, or the coefficient of determination R2."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from orchestrator.training.data.task import Task

NO_TARGET = -100
"""Marks positions of a sequence without a target, as in torch's cross_entropy."""


class Score(Protocol):
    """Accumulates a score over batches, on the device of the outputs."""

    name: str
    """Prefix of the record's fields."""

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds a batch of outputs and targets [n, ...]."""
        ...

    def value(self) -> float | None:
        """Returns the score of all batches; None if it is not defined. Synchronizes with the device."""
        ...


class _Accuracy:
    """The share of correct predictions."""

    name = "accuracy"

    def __init__(self, correct: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | int]]) -> None:
        self._correct = correct
        self._hits: list[Tensor] = []
        self._counts: list[Tensor | int] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        hits, count = self._correct(outputs, targets)
        self._hits.append(hits)
        self._counts.append(count)

    def value(self) -> float:
        count = sum(int(count) for count in self._counts)
        return float(torch.stack(self._hits).sum().item() / count)


class _R2:
    """1 - squared error / variance of the targets: the mean of this over the values of a sample.

    Not defined if a value is constant, such as for a single sample.
    """

    name = "r2"

    def __init__(self) -> None:
        self._targets: list[Tensor] = []
        self._squared_errors: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self._targets.append(targets.double())
        self._squared_errors.append((outputs.double() - targets).square().sum(0))

    def value(self) -> float | None:
        targets = torch.cat(self._targets)
        if bool((targets == targets[0]).all(0).any()):
            return None
        variation = (targets - targets.mean(0)).square().sum(0)
        return float((1.0 - torch.stack(self._squared_errors).sum(0) / variation).mean())


def _classes(outputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    return (outputs.argmax(1) == targets).sum(), len(targets)


def _tokens(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return (outputs.argmax(-1) == targets).sum(), (targets != NO_TARGET).sum()


def _labels(outputs: Tensor, targets: Tensor, threshold: float) -> tuple[Tensor, int]:
    return ((outputs > threshold) == (targets > 0.5)).sum(), targets.numel()


SCORES: dict[Task, Callable[[float], Score]] = {
    Task.CLASSES: lambda _: _Accuracy(_classes),
    Task.TOKENS: lambda _: _Accuracy(_tokens),
    Task.LABELS: lambda threshold: _Accuracy(partial(_labels, threshold=threshold)),
    Task.VALUES: lambda _: _R2(),
}
"""Score of each task, as a function of the output above which a label is predicted (`Loss.label_threshold`)."""

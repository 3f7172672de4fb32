"""The loss of a trial as a function of outputs and targets."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.study.loss_config import BinaryCrossEntropyConfig, CrossEntropyConfig, MseConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.task import Task

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss, evaluated as a mean and as a sum over the samples of a batch."""

    mean: LossFunction
    """Maps outputs [n, ...] and targets [n, ...] to the mean loss. It is minimised, and its Hessian is measured."""
    sum: LossFunction
    """The same for the sum of the losses of the n samples."""


CROSS_ENTROPY = Loss(F.cross_entropy, partial(F.cross_entropy, reduction="sum"))


def build_loss(config: CrossEntropyConfig | MseConfig | BinaryCrossEntropyConfig, data: DataSplits) -> Loss:
    """Returns the loss of a trial.

    Raises:
        ValueError: if the loss does not fit the targets of the data.
    """
    if problem := _misfit(config.name, data):
        raise ValueError(f"loss {config.name} does not fit data with {_TARGETS[data.task]}: {problem}")
    match config:
        case CrossEntropyConfig(label_smoothing=smoothing) if data.task is Task.TOKENS:
            return _of_mean(partial(_token_cross_entropy, smoothing=smoothing))
        case CrossEntropyConfig(label_smoothing=0.0):
            return CROSS_ENTROPY
        case CrossEntropyConfig(label_smoothing=smoothing):
            return _of_mean(nn.CrossEntropyLoss(label_smoothing=smoothing))
        case BinaryCrossEntropyConfig():
            return _of_mean(F.binary_cross_entropy_with_logits)
        case MseConfig(factor=factor):
            return _of_mean(partial(_squared_error, factor=factor))


_TARGETS = {
    Task.CLASSES: "classes",
    Task.TOKENS: "tokens",
    Task.LABELS: "several labels per sample",
    Task.VALUES: "real targets",
}
_FITTING = {
    Task.CLASSES: ("cross_entropy", "mse"),
    Task.TOKENS: ("cross_entropy",),
    Task.LABELS: ("binary_cross_entropy", "mse"),
    Task.VALUES: ("mse",),
}


def _misfit(name: str, data: DataSplits) -> str | None:
    """Returns what to do about a loss that does not fit the data; None if it fits."""
    fitting = _FITTING[data.task]
    return None if name in fitting else f"use loss: {' or '.join(fitting)}"


def _of_mean(mean: LossFunction) -> Loss:
    return Loss(mean, lambda outputs, targets: mean(outputs, targets) * len(targets))


def _token_cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of outputs [n, positions, vocabulary]; targets of -100 do not count."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing=smoothing)


def _squared_error(outputs: Tensor, targets: Tensor, factor: float | Literal["mean"]) -> Tensor:
    if not targets.is_floating_point():
        targets = F.one_hot(targets, outputs.shape[1])
    total = (outputs - targets.to(outputs.dtype)).square().sum()
    return total / outputs.numel() if factor == "mean" else factor * total / len(outputs)

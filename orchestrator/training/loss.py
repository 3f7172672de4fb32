"""The loss of a trial as a function of outputs and targets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.study.parts.loss_config import BinaryCrossEntropyConfig, CrossEntropyConfig, MseConfig, OwnLossConfig
from orchestrator.study.parts.loss_config import Loss as LossConfig
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.task import Task
from orchestrator.training.scores import NO_TARGET
from orchestrator.training.user_code.extension_point import ExtensionPoint, check_arguments

LOSS = ExtensionPoint("loss", None, "a function loss(outputs, targets)")
LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss, evaluated as a mean and as a sum over the samples of a batch."""

    mean: LossFunction
    """Maps outputs [n, ...] and targets [n, ...] to the mean loss. It is minimised, and its Hessian is measured."""
    sum: LossFunction
    """The same for the sum of the losses of the n samples."""
    label_threshold: float = 0.0
    """Several labels per sample: outputs above this predict 1. 0 for logits."""


CROSS_ENTROPY = Loss(F.cross_entropy, partial(F.cross_entropy, reduction="sum"))


def build_loss(
    config: CrossEntropyConfig | MseConfig | BinaryCrossEntropyConfig | OwnLossConfig, data: DataSplits
) -> Loss:
    """Returns the loss of a trial.

    Raises:
        ValueError: if the loss does not fit the targets of the data, or the user's own function does not exist or does
            not take the arguments.
        UserCodeError: if the module of the user's own function raises.
    """
    if isinstance(config, OwnLossConfig):
        return _from_mean(_own_loss(config))
    if problem := _misfit(config.name, data):
        raise ValueError(f"loss {config.name} does not fit data with {_TARGETS[data.task]}: {problem}")
    match config:
        case CrossEntropyConfig(label_smoothing=smoothing) if data.task is Task.TOKENS:
            return _from_mean(partial(_token_cross_entropy, smoothing=smoothing))
        case CrossEntropyConfig(label_smoothing=0.0):
            return CROSS_ENTROPY
        case CrossEntropyConfig(label_smoothing=smoothing):
            return _from_mean(nn.CrossEntropyLoss(label_smoothing=smoothing))
        case BinaryCrossEntropyConfig():
            return _from_mean(F.binary_cross_entropy_with_logits)
        case MseConfig(factor=factor):
            return replace(_from_mean(partial(_squared_error, factor=factor)), label_threshold=0.5)


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
    if name not in fitting:
        classes = ", or targets that are classes: int64 in a function, data.task: classes in a table"
        return f"use loss: {' or '.join(fitting)}{classes if data.task is Task.VALUES else ''}"
    if data.task is Task.TOKENS and (counts := _target_counts(data)).min() < counts.max():
        return (
            f"samples have {int(counts.min())} to {int(counts.max())} positions with a target, so the mean over "
            "positions is not a mean over samples; give every sample the same number, or write a loss of your own"
        )
    return None


def _target_counts(data: DataSplits) -> Tensor:
    """Returns the number of positions with a target, of every sample."""
    parts = (data.train, data.validation, data.test)
    return torch.cat([(part.targets.view(len(part), -1) != NO_TARGET).sum(1) for part in parts if len(part)])


def _own_loss(config: OwnLossConfig) -> LossFunction:
    function = LOSS.find(config.name)
    check_arguments(f"loss {config.name!r}", function, (None, None), config.arguments)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        with LOSS.errors(config.name, f"called with outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"):
            found: Tensor = function(outputs, targets, **config.arguments)
        return found

    return loss


def check_loss(config: LossConfig, loss: Loss, model: nn.Module, data: DataSplits) -> None:
    """Checks that the user's own loss is a mean over samples that can be differentiated. Built-in losses need no check.

    Args:
        config: config of the loss.
        loss: the loss.
        model: the untrained network, on the CPU. It is evaluated on two training samples.
        data: the data, on any device.

    Raises:
        ValueError: if it is not. The message contains the values.
        UserCodeError: if the loss raises.
    """
    if not isinstance(config, OwnLossConfig):
        return
    name, few = f"loss {config.name!r}", data.first(2, 0, 0).to(torch.device("cpu"))
    few_targets = few.train.targets.clone()
    training = model.training
    with torch.no_grad():
        outputs = model.eval()(few.normalise(few.train.inputs))
    model.train(training)
    outputs, targets = outputs.requires_grad_(), few_targets.clone()
    value, repeated = loss.mean(outputs, targets), loss.mean(outputs, targets)
    if not torch.equal(targets, few_targets):
        raise ValueError(f"{name} changes its targets: work on a copy, for example targets.clone()")
    single = [loss.mean(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(targets))]
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.is_floating_point()):
        shown = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} returned {shown}, expected a scalar float tensor: take the mean over samples")
    if not (value.requires_grad and torch.autograd.grad(value, outputs, allow_unused=True)[0] is not None):
        raise ValueError(f"{name} has no gradient: compute it from the outputs with torch operations")
    value, repeated, mean = value.detach(), repeated.detach(), torch.stack(single).detach().mean()
    if not bool(value.isfinite()):
        raise ValueError(f"{name} is {float(value)} for the untrained network on {len(targets)} samples: correct it")
    if not torch.equal(value, repeated):
        raise ValueError(
            f"{name} returned {float(value)!r} and then {float(repeated)!r} for the same outputs: reruns and Hessian "
            "products would differ; do not draw random numbers in a loss"
        )
    if not torch.allclose(value, mean, rtol=1e-4, atol=1e-6):
        raise ValueError(
            f"{name} is {float(value):.6g} for {len(targets)} samples, the mean of their single losses is "
            f"{float(mean):.6g}: it must be a mean over samples"
        )


def _from_mean(mean: LossFunction) -> Loss:
    return Loss(mean, lambda outputs, targets: mean(outputs, targets) * len(targets))


def _token_cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of outputs [n, positions, vocabulary]; targets of -100 do not count."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), label_smoothing=smoothing)


def _squared_error(outputs: Tensor, targets: Tensor, factor: float | Literal["mean"]) -> Tensor:
    if not targets.is_floating_point():
        # `F.one_hot` does not run under vmap, on which the check of the loss relies for its speed.
        targets = targets.unsqueeze(-1) == torch.arange(outputs.shape[1], device=targets.device)
    total = (outputs - targets.to(outputs.dtype)).square().sum()
    return total / outputs.numel() if factor == "mean" else factor * total / len(outputs)

"""Checks of the targets of torch's cross_entropy and mse_loss, the losses whose Hessians have a closed form."""

import torch
from torch import Tensor, nn

from estimators.problem.checks import LossFunction

_CLASS_DTYPES = (torch.int64, torch.uint8)


def check_targets(loss_fn: LossFunction, outputs: object, targets: Tensor) -> None:
    """Raises ValueError if targets [n, ...] do not fit torch's cross_entropy or mse_loss for outputs [any, ...].

    torch silently broadcasts targets of some wrong shapes, and its errors about other targets do not name the value.
    Outputs that are not a tensor with rows are not checked here; they raise a different error.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim == 0:
        return
    shape = expected = (len(targets), *outputs.shape[1:])
    if (type(loss_fn) is nn.CrossEntropyLoss or is_cross_entropy(loss_fn)) and outputs.ndim > 1:
        # Class indices drop the dimension of the classes.
        if not targets.is_floating_point():
            expected = (len(targets), *outputs.shape[2:])
    elif not is_mse(loss_fn):
        return
    if targets.shape != expected:
        raise ValueError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)} for outputs of shape {shape}, expected shape"
            f" {expected}: pass a target for each output, or class indices as integers without"
            " the dimension of the classes"
        )
    if targets.is_floating_point() or is_mse(loss_fn):
        _check_dtype(targets, outputs.dtype)
    else:
        _check_classes(targets, outputs.shape[1], ignored_class(loss_fn))


def is_cross_entropy(loss_fn: LossFunction) -> bool:
    """Whether a loss is torch's cross_entropy as a plain mean, or its module without class weights."""
    if type(loss_fn) is nn.CrossEntropyLoss:
        return loss_fn.weight is None and _is_plain_mean(loss_fn)
    return loss_fn is nn.functional.cross_entropy


def is_mse(loss_fn: LossFunction) -> bool:
    """Whether a loss is torch's mse_loss as a plain mean, or its module."""
    return _is_plain_mean(loss_fn) if type(loss_fn) is nn.MSELoss else loss_fn is nn.functional.mse_loss


def ignored_class(loss_fn: LossFunction) -> int:
    """The target that cross-entropy ignores; the function itself ignores -100."""
    return int(getattr(loss_fn, "ignore_index", -100))


def _is_plain_mean(module: nn.CrossEntropyLoss | nn.MSELoss) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
    return module.reduction == "mean" and not hooked


def _check_dtype(targets: Tensor, expected: torch.dtype) -> None:
    if targets.dtype != expected:
        raise ValueError(
            f"targets are {targets.dtype}, expected {expected} as the outputs: convert them with targets.to({expected})"
        )


def _check_classes(targets: Tensor, classes: int, ignored: int) -> None:
    if targets.dtype not in _CLASS_DTYPES:
        raise ValueError(f"class indices are {targets.dtype}, expected torch.int64: convert them with targets.long()")
    wrong = targets[((targets < 0) | (targets >= classes)) & (targets != ignored)]
    if len(wrong):
        raise ValueError(
            f"a target is {int(wrong[0])}, expected a class in 0..{classes - 1}, as the model has {classes} outputs:"
            " number the classes from 0, or give the model an output for each"
        )

"""Builds the optimizers that a sweep file names as ``package.module:name``: those of torch and the user's own."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn, optim

from orchestrator.study.parts.optimizer_config import OptimizerClassConfig
from orchestrator.training.user_code.extension_point import ExtensionPoint, UserCodeError, check_arguments, shown
from orchestrator.training.user_code.own_code import is_own

OPTIMIZER = ExtensionPoint("optimizer", optim.Optimizer, "torch.optim.Optimizer")
INITIAL_LR = "initial_lr"
"""Key of a parameter group: the learning rate that schedules multiply. torch's schedulers use the same key."""


def build_user_optimizer(config: OptimizerClassConfig, parameters: list[nn.Parameter]) -> optim.Optimizer:
    """Returns an instance of the class that a config names, with the config's arguments as keyword arguments.

    Raises:
        ValueError: if the class does not exist, is not an optimizer, cannot train the parameters or does not take the
            arguments.
        UserCodeError: if the user's own class raises.
    """
    optimizer_class = OPTIMIZER.find(config.name)
    _check_supported(config.name, optimizer_class, parameters)
    check_arguments(f"optimizer {config.name!r}", optimizer_class, (parameters,), config.arguments)
    with optimizer_errors(config, f"called with {shown(config.arguments)}"):
        optimizer: optim.Optimizer = optimizer_class(parameters, **config.arguments)
    for group in optimizer.param_groups:
        if "lr" in group:
            lr = group["lr"]
            group.setdefault(INITIAL_LR, lr.item() if isinstance(lr, Tensor) else lr)
    return optimizer


@contextmanager
def optimizer_errors(config: OptimizerClassConfig, doing: str) -> Iterator[None]:
    """Turns exceptions of the class into UserCodeError, or into ValueError without a traceback if it is torch's.

    Args:
        config: names the class.
        doing: completes the message "optimizer raised when ...".
    """
    try:
        with OPTIMIZER.errors(config.name, doing):
            yield
    except UserCodeError as error:
        if is_own(config.name):
            raise
        raise ValueError(f"{error}; change the arguments, or name another optimizer") from None


def _check_supported(name: str, optimizer_class: type[optim.Optimizer], parameters: list[nn.Parameter]) -> None:
    """Raises ValueError if training steps cannot use a class for these parameters."""
    arguments = inspect.signature(optimizer_class.step).parameters
    required = [key for key, value in arguments.items() if value.default is value.empty]
    if "closure" in required:
        raise ValueError(
            f"optimizer {name!r} needs a closure that computes the loss several times per step, and a training step "
            "computes one gradient: name an optimizer that takes one gradient per step"
        )
    if issubclass(optimizer_class, optim.SparseAdam):
        raise ValueError(
            f"optimizer {name!r} needs sparse gradients, and gradients here are dense: name adam or another optimizer"
        )
    muon: type[optim.Optimizer] | None = getattr(optim, "Muon", None)  # since torch 2.9
    other = next((parameter for parameter in parameters if parameter.ndim != 2), None)
    if muon and issubclass(optimizer_class, muon) and other is not None:
        raise ValueError(
            f"optimizer {name!r} trains only parameters with 2 dimensions, and the network has one of shape "
            f"{tuple(other.shape)}: name another optimizer, or a network without biases, convolutions and norms"
        )

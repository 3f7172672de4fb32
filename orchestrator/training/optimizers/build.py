"""Builds the optimizer of a trial."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

from orchestrator.study.parts.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    OptimizerClassConfig,
    RmspropConfig,
    SgdConfig,
)
from orchestrator.training.optimizers.device_adagrad import DeviceAdagrad
from orchestrator.training.optimizers.user_optimizer import build_user_optimizer

BuiltIn = SgdConfig | AdamConfig | AdamWConfig | AdagradConfig | RmspropConfig
Config = BuiltIn | OptimizerClassConfig


def build_optimizer(config: Config, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Returns the optimizer of a trial. Built-in ones have fused kernels except RMSprop, which torch does not fuse.

    On CUDA the learning rate of a built-in optimizer is a tensor and its step counts are on the device. Therefore
    captured and eager steps do the same arithmetic.

    Raises:
        ValueError: if a class named in the sweep file does not fit its arguments or the parameters.
        UserCodeError: if the user's own class raises.
    """
    parameters = list(parameters)
    if isinstance(config, OptimizerClassConfig):
        return build_user_optimizer(config, parameters)
    on_cuda = any(parameter.is_cuda for parameter in parameters)
    lr: float | Tensor = torch.tensor(config.lr, device=parameters[0].device) if on_cuda else config.lr
    optimizer = _create(config, parameters, lr, on_cuda)
    if on_cuda:
        # Silences a warning of torch for trials that are not captured as a CUDA graph.
        optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer


def is_capturable(config: Config) -> bool:
    """Whether a training step with this optimizer can be captured as a CUDA graph.

    A class named in the sweep file may read values on the host. SAM sets the device's random stream back.
    """
    return not isinstance(config, OptimizerClassConfig) and config.sam is None


def _create(config: BuiltIn, parameters: list[nn.Parameter], lr: float | Tensor, on_cuda: bool) -> optim.Optimizer:
    decay = config.weight_decay
    match config:
        case SgdConfig(momentum=momentum, nesterov=nesterov):
            return optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True)
        case AdamConfig() | AdamWConfig():
            adam = optim.Adam if isinstance(config, AdamConfig) else optim.AdamW
            betas = (config.beta1, config.beta2)
            return adam(parameters, lr, betas, config.eps, weight_decay=decay, capturable=on_cuda, fused=True)
        case AdagradConfig(lr_decay=lr_decay, initial_accumulator=initial):
            if isinstance(lr, Tensor):
                return DeviceAdagrad(parameters, lr, lr_decay, decay, initial, config.eps)
            return optim.Adagrad(parameters, lr, lr_decay, decay, initial, config.eps, fused=True)
        case RmspropConfig(alpha=alpha, momentum=momentum):
            return optim.RMSprop(parameters, lr, alpha, config.eps, decay, momentum, capturable=on_cuda, foreach=True)

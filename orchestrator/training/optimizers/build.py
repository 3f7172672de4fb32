"""Builds the optimizer of a trial."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

from orchestrator.study.optimizer_config import AdagradConfig, AdamConfig, AdamWConfig, RmspropConfig, SgdConfig
from orchestrator.training.optimizers.device_adagrad import DeviceAdagrad

Config = SgdConfig | AdamConfig | AdamWConfig | AdagradConfig | RmspropConfig


def build_optimizer(config: Config, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """Returns the optimizer of a trial, with fused kernels except for RMSprop, which torch does not fuse.

    On CUDA the learning rate is a tensor and step counts are on the device. Therefore captured and eager steps do the
    same arithmetic.
    """
    parameters = list(parameters)
    on_cuda = any(parameter.is_cuda for parameter in parameters)
    lr: float | Tensor = torch.tensor(config.lr, device=parameters[0].device) if on_cuda else config.lr
    optimizer = _create(config, parameters, lr, on_cuda)
    if on_cuda:
        # Silences a warning of torch for trials that are not captured as a CUDA graph.
        optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer


def _create(config: Config, parameters: list[nn.Parameter], lr: float | Tensor, on_cuda: bool) -> optim.Optimizer:
    decay = config.weight_decay
    match config:
        case SgdConfig(momentum=momentum, nesterov=nesterov):
            return optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True)
        case AdamConfig() | AdamWConfig():
            kind = optim.Adam if isinstance(config, AdamConfig) else optim.AdamW
            betas = (config.beta1, config.beta2)
            return kind(parameters, lr, betas, config.eps, weight_decay=decay, capturable=on_cuda, fused=True)
        case AdagradConfig(lr_decay=lr_decay, initial_accumulator=initial):
            if isinstance(lr, Tensor):
                return DeviceAdagrad(parameters, lr, lr_decay, decay, initial, config.eps)
            return optim.Adagrad(parameters, lr, lr_decay, decay, initial, config.eps, fused=True)
        case RmspropConfig(alpha=alpha, momentum=momentum):
            return optim.RMSprop(parameters, lr, alpha, config.eps, decay, momentum, capturable=on_cuda, foreach=True)

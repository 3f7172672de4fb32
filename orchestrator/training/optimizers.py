"""The optimizers a trial can use."""

from collections.abc import Iterable

from torch import nn, optim

from orchestrator.study.optimizer_config import AdagradConfig, AdamConfig, AdamWConfig, RmspropConfig, SgdConfig

Config = SgdConfig | AdamConfig | AdamWConfig | AdagradConfig | RmspropConfig


def build_optimizer(config: Config, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """The optimizer of a trial. Fused: one kernel over all parameters, on the CPU too; RMSprop has none in torch."""
    lr, decay = config.lr, config.weight_decay
    match config:
        case SgdConfig(momentum=momentum, nesterov=nesterov):
            return optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True)
        case AdamConfig():
            betas = (config.beta1, config.beta2)
            return optim.Adam(parameters, lr, betas, config.eps, weight_decay=decay, fused=True)
        case AdamWConfig():
            betas = (config.beta1, config.beta2)
            return optim.AdamW(parameters, lr, betas, config.eps, weight_decay=decay, fused=True)
        case AdagradConfig(lr_decay=lr_decay, initial_accumulator=initial):
            return optim.Adagrad(parameters, lr, lr_decay, decay, initial, config.eps, fused=True)
        case RmspropConfig(alpha=alpha, momentum=momentum):
            return optim.RMSprop(parameters, lr, alpha, config.eps, decay, momentum, foreach=True)

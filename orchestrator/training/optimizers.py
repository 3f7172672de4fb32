"""The optimizers a trial can use."""

from collections.abc import Iterable

from torch import nn, optim

from orchestrator.study.optimizer_config import AdamConfig, SgdConfig


def build_optimizer(config: SgdConfig | AdamConfig, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """The optimizer of a trial. Fused: one kernel over all parameters, on the CPU too."""
    if isinstance(config, SgdConfig):
        return optim.SGD(
            parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
    return optim.Adam(
        parameters,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )

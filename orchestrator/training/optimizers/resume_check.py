"""Checks, before a sweep starts, that an optimizer can train the network and continue from a checkpoint."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.optimizer_config import ConstantSchedule, OptimizerClassConfig
from orchestrator.training.checkpoint import Moment, restore, snapshot
from orchestrator.training.optimizers.user_optimizer import build_user_optimizer, optimizer_errors

_STEPS = 2
"""Number of steps after the checkpoint. The second one also depends on what the first one changed."""


def check_optimizer(config: TrialConfig, parameters: Iterable[nn.Parameter]) -> None:
    """Builds an optimizer that the sweep file names as a class, and takes a few steps on copies of the parameters.

    Built-in optimizers need no check.

    Raises:
        ValueError: if the optimizer does not fit the parameters, its arguments or the schedule, or if its next steps
            after a checkpoint are different.
        UserCodeError: if the user's own class raises.
    """
    named = config.optimizer
    if not isinstance(named, OptimizerClassConfig):
        return
    copies = _copies(parameters)
    optimizer = build_user_optimizer(named, copies)
    _check_schedule(config, optimizer)
    with torch.random.fork_rng(devices=[]):
        _step(named, optimizer, copies, 0)
        others = _copies(copies)
        resumed = build_user_optimizer(named, others)
        _transfer(named, optimizer, copies, resumed, others)
        for seed in range(1, _STEPS + 1):
            _step(named, optimizer, copies, seed)
            _step(named, resumed, others, seed)
    if not all(map(_same, copies, others)):
        raise ValueError(
            f"optimizer {named.name!r} takes other steps after its state was saved and loaded, so a resumed trial "
            "would give other numbers: keep everything that steps depend on in `state` or `param_groups`, tensors in "
            "the dtype of their parameter, and draw random numbers with torch"
        )


def _check_schedule(config: TrialConfig, optimizer: optim.Optimizer) -> None:
    schedule = config.schedule
    if isinstance(schedule, ConstantSchedule) and schedule.warmup_epochs == 0:
        return
    if not all("lr" in group for group in optimizer.param_groups):
        raise ValueError(
            f"optimizer {config.optimizer.name!r} has no learning rate `lr` in its parameter groups that schedule "
            f"{schedule.name!r} could change: remove the schedule, or name another optimizer"
        )


def _transfer(
    named: OptimizerClassConfig,
    optimizer: optim.Optimizer,
    parameters: list[nn.Parameter],
    resumed: optim.Optimizer,
    others: list[nn.Parameter],
) -> None:
    """Copies parameters and the optimizer's state by a checkpoint."""
    try:
        restore(snapshot(Moment(0), nn.ParameterList(parameters), optimizer), nn.ParameterList(others), resumed)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"optimizer {named.name!r} cannot be restored from a checkpoint: {reason}: keep only tensors, numbers, "
            "text and lists of them in `state` and `param_groups`"
        ) from error


def _copies(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return [nn.Parameter(parameter.detach().clone(), parameter.requires_grad) for parameter in parameters]


def _step(named: OptimizerClassConfig, optimizer: optim.Optimizer, parameters: list[nn.Parameter], seed: int) -> None:
    torch.manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
    with optimizer_errors(named, "taking steps on random gradients"):
        optimizer.step()


def _same(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())

"""Learning rate schedules. They are pure functions of the step, so checkpoints contain no scheduler state."""

from math import cos, pi
from typing import Any

from torch import Tensor, optim

from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.optimizer_config import (
    ConstantSchedule,
    CosineSchedule,
    OptimizerClassConfig,
    StepSchedule,
)
from orchestrator.training.optimizers.build import Config
from orchestrator.training.optimizers.user_optimizer import INITIAL_LR

Schedule = ConstantSchedule | CosineSchedule | StepSchedule


def learning_rate_factor(schedule: Schedule, steps: int, steps_per_epoch: int, step: int) -> float:
    """Returns the factor that multiplies the configured learning rate in a step.

    In the w = `warmup_epochs * steps_per_epoch` steps of the warm-up, the factor is (step + 1) / w. It is 1 in the last
    of these steps. After the warm-up it is:

    - constant: 1.
    - cosine: final + (1 - final) (1 + cos(pi (step - s) / (l - s))) / 2. It falls from 1 in step s, the last step
      of the warm-up (0 without a warm-up), to `final` in step l, the last step of the trial (Loshchilov and Hutter,
      2017, without restarts).
    - step: factor ** (finished epochs // every). Finished epochs include those of the warm-up.

    Args:
        schedule: from the trial's config.
        steps: number of steps of the whole trial.
        steps_per_epoch: number of batches in an epoch.
        step: counted from 0 over the whole trial.
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    match schedule:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule():
            start, last = max(warmup - 1, 0), steps - 1
            # A trial with a single step uses the full learning rate.
            progress = (step - start) / (last - start) if last > start else 0.0
            return schedule.final + (1 - schedule.final) * (1 + cos(pi * progress)) / 2
        case StepSchedule():
            return schedule.factor ** (step // steps_per_epoch // schedule.every)


def learning_rate(config: TrialConfig, lr: float, steps_per_epoch: int, step: int) -> float:
    """Returns the learning rate of a step, counted from 0; after the last step, that of the last step.

    Args:
        config: the trial.
        lr: the rate that the schedule multiplies, such as `config.optimizer.lr`.
        steps_per_epoch: number of batches in an epoch.
        step: the step. For the record after n steps, the next step is step n.
    """
    steps = config.cadence.step(config.records, steps_per_epoch)
    return lr * learning_rate_factor(config.schedule, steps, steps_per_epoch, max(0, min(step, steps - 1)))


def set_learning_rate(optimizer: optim.Optimizer, config: TrialConfig, steps_per_epoch: int, step: int) -> None:
    """Sets the learning rate for a step. Does nothing for a constant schedule without a warm-up."""
    if isinstance(config.schedule, ConstantSchedule) and config.schedule.warmup_epochs == 0:
        return
    steps = config.cadence.step(config.records, steps_per_epoch)
    factor = learning_rate_factor(config.schedule, steps, steps_per_epoch, step)
    for group in optimizer.param_groups:
        lr = _full_rate(config.optimizer, group) * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)  # in place: CUDA graphs read this memory
        else:
            group["lr"] = lr


def check_schedule(config: TrialConfig, steps_per_epoch: int) -> None:
    """Raises ValueError if a cosine has no steps after the warm-up. Trials that last epochs are checked earlier."""
    warmup = config.schedule.warmup_epochs * steps_per_epoch
    if isinstance(config.schedule, CosineSchedule) and config.steps is not None and warmup >= config.steps:
        raise ValueError(
            f"schedule.warmup_epochs is {config.schedule.warmup_epochs}, which is {warmup} steps here, expected less "
            f"than steps, which is {config.steps}: cosine annealing needs steps after the warm-up"
        )


def _full_rate(config: Config, group: dict[str, Any]) -> float:
    """Returns the rate that the schedule multiplies. A class may have a default or one rate per group."""
    return float(group[INITIAL_LR]) if isinstance(config, OptimizerClassConfig) else config.lr

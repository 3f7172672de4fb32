"""How the learning rate changes with time: a pure function of the step, so that nothing of it needs to be stored."""

from math import cos, pi

from torch import Tensor, optim

from orchestrator.study.config import TrialConfig
from orchestrator.study.optimizer_config import ConstantSchedule, CosineSchedule, StepSchedule

Schedule = ConstantSchedule | CosineSchedule | StepSchedule


def learning_rate_factor(schedule: Schedule, epochs: int, steps_per_epoch: int, step: int) -> float:
    """By what the optimizer's learning rate is multiplied in one step.

    Warm-up, of `warmup_epochs * steps_per_epoch` = w steps: (step + 1) / w, so its last step is the first at full size.

    - constant: 1.
    - cosine: final + (1 - final) (1 + cos(pi (step - s) / (l - s))) / 2, from 1 at s, the last step of the warm-up or
      the first of the trial, to `final` at l, the last step of the trial (Loshchilov and Hutter, 2017, no restarts).
    - step: factor ** (finished epochs // every), the epochs of the warm-up counted too.

    Args:
        schedule: from the trial's config.
        epochs: of the whole trial.
        steps_per_epoch: batches in an epoch.
        step: counted from 0 over the whole trial.
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    match schedule:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule():
            start, last = max(warmup - 1, 0), epochs * steps_per_epoch - 1
            # A trial of a single step takes it in full.
            progress = (step - start) / (last - start) if last > start else 0.0
            return schedule.final + (1 - schedule.final) * (1 + cos(pi * progress)) / 2
        case StepSchedule():
            return schedule.factor ** (step // steps_per_epoch // schedule.every)


def set_learning_rate(optimizer: optim.Optimizer, config: TrialConfig, steps_per_epoch: int, step: int) -> None:
    """Gives an optimizer the learning rate of a step; leaves it alone where the rate never changes."""
    if isinstance(config.schedule, ConstantSchedule) and config.schedule.warmup_epochs == 0:
        return
    factor = learning_rate_factor(config.schedule, config.epochs, steps_per_epoch, step)
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(config.optimizer.lr * factor)  # the one that graphs read
        else:
            group["lr"] = config.optimizer.lr * factor

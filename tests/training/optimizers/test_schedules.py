"""Learning rates equal those of torch's schedulers, stepped once per batch."""

import itertools
import math

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler

from orchestrator.study.parts.optimizer_config import ConstantSchedule, CosineSchedule, StepSchedule
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.optimizers.schedules import (
    Schedule,
    learning_rate,
    learning_rate_factor,
    set_learning_rate,
)
from tests.training.trials import small_trial

EPOCHS, STEPS = 6, 5
CONSTANT = ConstantSchedule(name="constant")


def factors(schedule: Schedule, epochs: int = EPOCHS, steps: int = STEPS) -> list[float]:
    return [learning_rate_factor(schedule, epochs * steps, steps, step) for step in range(epochs * steps)]


def torchs(make: object, count: int = EPOCHS * STEPS) -> list[float]:
    """Returns the rates of a torch scheduler with initial rate 1."""
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant() -> None:
    assert factors(CONSTANT) == [1.0] * 30


def test_warm_up() -> None:
    warmup = 2 * STEPS
    expected = torchs(lambda o: lr_scheduler.LinearLR(o, start_factor=1 / warmup, total_iters=warmup - 1))
    ours = factors(ConstantSchedule(name="constant", warmup_epochs=2))
    assert ours == pytest.approx(expected, rel=1e-12)
    assert ours[:3] == [0.1, 0.2, 0.3]
    assert ours[warmup - 2 :] == [0.9] + [1.0] * 21


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine(final: float) -> None:
    expected = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=EPOCHS * STEPS - 1, eta_min=final))
    ours = factors(CosineSchedule(name="cosine", final=final))
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (ours[0], ours[-1]) == (1.0, final)
    assert all(later <= earlier for earlier, later in itertools.pairwise(ours))


def test_cosine_after_a_warm_up() -> None:
    warmup = 2 * STEPS

    def both(optimizer: optim.Optimizer) -> lr_scheduler.LRScheduler:
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
        fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * STEPS - warmup, eta_min=0.1)
        return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup - 1])

    ours = factors(CosineSchedule(name="cosine", warmup_epochs=2, final=0.1))
    assert ours == pytest.approx(torchs(both), rel=1e-9)
    assert ours[warmup - 1] == 1.0
    assert ours[warmup] < 1.0
    assert ours[-1] == 0.1


@pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (2, 0.1), (4, 0.3), (100, 0.1)])
def test_step(every: int, factor: float) -> None:
    expected = torchs(lambda o: lr_scheduler.StepLR(o, step_size=every * STEPS, gamma=factor))
    assert factors(StepSchedule(name="step", every=every, factor=factor)) == pytest.approx(expected, rel=1e-12)


def test_step_schedule_counts_the_epochs_of_the_warm_up() -> None:
    ours = factors(StepSchedule(name="step", every=2, factor=0.1, warmup_epochs=1))
    assert ours[:STEPS] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert ours[STEPS:] == [1.0] * STEPS + [0.1] * 2 * STEPS + [0.1**2] * 2 * STEPS


def test_trial_with_a_single_step_uses_the_full_rate() -> None:
    assert factors(CosineSchedule(name="cosine"), epochs=1, steps=1) == [1.0]


@pytest.mark.parametrize(
    "schedule", [CONSTANT, ConstantSchedule(name="constant", warmup_epochs=3), StepSchedule(name="step", every=2)]
)
def test_more_epochs_do_not_change_earlier_rates(schedule: Schedule) -> None:
    assert factors(schedule, epochs=20)[: EPOCHS * STEPS] == factors(schedule)


def rate_of(step: int, **schedule: object) -> float:
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=123.0)
    trial = small_trial(schedule=schedule, epochs=EPOCHS, optimizer={"name": "sgd", "lr": 0.4})
    set_learning_rate(optimizer, trial, STEPS, step)
    return float(optimizer.param_groups[0]["lr"])


def test_learning_rate_is_the_configured_rate_times_the_factor() -> None:
    assert rate_of(4, name="constant", warmup_epochs=2) == 0.4 * 0.5
    assert rate_of(25, name="step", every=5) == 0.4 * 0.1
    assert rate_of(29, name="cosine", final=0.25) == 0.1
    assert rate_of(15, name="cosine") == pytest.approx(0.2 * (1 + math.cos(math.pi * 15 / 29)))


def test_the_rate_after_the_last_step_is_that_of_the_last_step() -> None:
    trial = small_trial(schedule={"name": "cosine", "final": 0.25}, epochs=EPOCHS, optimizer={"name": "sgd", "lr": 0.4})
    rates = [learning_rate(trial, 0.4, STEPS, step) for step in (0, 15, 29, 30)]
    assert rates == [0.4, rate_of(15, name="cosine", final=0.25), 0.1, 0.1]


def test_a_constant_rate_is_never_set() -> None:
    assert rate_of(7, name="constant") == 123.0


def test_the_rates_of_a_class_are_those_that_it_set_times_the_factor() -> None:
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    trial = small_trial(schedule={"name": "step", "every": 1}, optimizer={"name": "torch.optim:NAdam"})
    optimizer = build_optimizer(trial.optimizer, [one])
    optimizer.add_param_group({"params": [two], "lr": 0.5, "initial_lr": 0.5})
    for step, factor in ((0, 1.0), (STEPS, 0.1), (2 * STEPS, 0.01)):
        set_learning_rate(optimizer, trial, STEPS, step)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.002 * factor, 0.5 * factor])  # 0.002 is torch's default

"""Optimizers that cannot train the network or continue from a checkpoint are refused before training."""

from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.training.optimizers.resume_check import check_optimizer
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.training.trials import small_trial

OWN = "tests.training.user_optimizers"


def check(name: str, schedule: str = "constant", **arguments: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].weight.requires_grad_(False)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    stream = torch.get_rng_state()
    trial = small_trial(optimizer={"name": name, **arguments}, schedule={"name": schedule})
    try:
        check_optimizer(trial, model.parameters())
    finally:
        assert all(map(torch.equal, before, model.parameters()))
        assert torch.equal(stream, torch.get_rng_state())


@pytest.mark.parametrize("kind", ["SignDescent", "Noisy", "CountingInGroup", "ChangingItsRate"])
def test_the_users_optimizers_are_accepted(kind: str) -> None:
    check(f"{OWN}:{kind}", lr=0.1)
    check(f"{OWN}:{kind}", schedule="cosine", lr=0.1)


def test_infinite_steps_are_accepted() -> None:
    check("torch.optim:SGD", lr=1e38, momentum=0.9)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            f"{OWN}:Forgetful",
            {"lr": 0.1},
            "takes other steps after its state was saved and loaded, so a resumed trial would give other numbers: keep",
        ),
        (f"{OWN}:Unsaved", {"lr": 0.1}, "cannot be restored from a checkpoint: .*: keep only tensors, numbers, text"),
        (
            f"{OWN}:WithoutRate",
            {"schedule": "cosine"},
            "has no learning rate `lr` in its parameter groups that schedule 'cosine' could change: remove the sched",
        ),
        (
            "torch.optim:NAdam",
            {"capturable": True},
            "raised when taking steps on random gradients: .*; change the arguments, or name another optimizer",
        ),
    ],
)
def test_unfit_optimizers_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(name, **arguments)


def test_a_bug_in_the_step_is_reported_as_the_users() -> None:
    with pytest.raises(UserCodeError, match="Broken' raised when taking steps on random gradients: KeyError: 'a bug"):
        check(f"{OWN}:Broken", lr=0.1)


def test_an_optimizer_without_a_learning_rate_needs_no_schedule() -> None:
    model = nn.Linear(3, 2)
    check_optimizer(small_trial(optimizer={"name": f"{OWN}:WithoutRate"}), model.parameters())

"""With every optimizer, a resumed or repeated trial is bit-identical."""

import io
from typing import Any

import pytest
import torch

from orchestrator.training.loop import TrainedRecord, train
from tests.training.trials import CPU, few_digits, small_trial

OWN = "tests.training.user_optimizers"
NOTHING = {"fraction": 0.05, "estimators": []}
COSINE = {"name": "cosine", "final": 0.1, "warmup_epochs": 1}
OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd", "lr": 0.05},
    {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    {"name": "adam", "lr": 0.001},
    {"name": "adamw", "lr": 0.001},
    {"name": "adagrad", "lr": 0.01, "lr_decay": 0.001},
    {"name": "rmsprop", "lr": 0.001, "momentum": 0.5},
    {"name": "torch.optim:SGD", "lr": 0.05, "momentum": 0.9, "dampening": 0.1},
    {"name": "torch.optim:Adam", "amsgrad": True, "betas": [0.8, 0.99]},
    {"name": "torch.optim:NAdam", "lr": 0.001},
    {"name": "torch.optim:RAdam", "lr": 0.001},
    {"name": "torch.optim:Adamax"},
    {"name": "torch.optim:Adadelta"},
    {"name": "torch.optim:ASGD", "t0": 2},
    {"name": "torch.optim:RMSprop", "centered": True},
    {"name": "torch.optim:Rprop", "lr": 0.001},
    {"name": "torch.optim:Adafactor"},
    {"name": "torch.optim:Muon", "lr": 0.01},
    {"name": f"{OWN}:SignDescent", "lr": 0.001},
    {"name": f"{OWN}:Noisy", "lr": 0.001},
    {"name": f"{OWN}:CountingInGroup", "lr": 0.01},
    {"name": "sgd", "lr": 0.05, "sam": {"rho": 0.05}},
    {"name": "adam", "lr": 0.001, "sam": {"rho": 0.05}},
    {"name": "sgd", "lr": 0.05, "gradient_clip": 0.1},
    {"name": "torch.optim:NAdam", "sam": {"rho": 0.05}, "gradient_clip": 0.1},
]
NOISY_MLP = {"name": "mlp", "hidden": [10], "dropout": 0.2, "batch_norm": True}


def model_for(optimizer: dict[str, Any]) -> dict[str, Any]:
    return {"name": "tests.training.user_nets:WithoutBiases"} if "Muon" in optimizer["name"] else NOISY_MLP


def trained(checkpoint: bytes | None = None, **fields: Any) -> list[TrainedRecord]:
    return list(train(small_trial(epochs=3, measurement=NOTHING, **fields), few_digits(), CPU, checkpoint))


def assert_same(ours: TrainedRecord, theirs: TrainedRecord) -> None:
    """Compares records, weights, buffers and the optimizer's state bit for bit."""
    assert ours.record.differences(theirs.record) == {}
    one, other = (torch.load(io.BytesIO(epoch.checkpoint), weights_only=True) for epoch in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_resumed_or_repeated_trial_is_bit_identical(optimizer: dict[str, Any]) -> None:
    fields = {"optimizer": optimizer, "model": model_for(optimizer), "schedule": COSINE}
    whole = trained(**fields)
    resumed = trained(whole[1].checkpoint, **fields)
    assert [epoch.record.epoch for epoch in resumed] == [2, 3]
    for ours, theirs in zip(resumed, whole[2:], strict=True):
        assert_same(ours, theirs)
    assert_same(trained(**fields)[-1], whole[-1])


def test_an_optimizer_may_change_its_own_rate() -> None:
    fields = {"optimizer": {"name": f"{OWN}:ChangingItsRate", "lr": 0.01}, "model": NOISY_MLP}
    whole = trained(**fields)
    assert_same(trained(whole[1].checkpoint, **fields)[-1], whole[-1])


def test_full_batches_are_resumed_bit_for_bit() -> None:
    fields = {"batch_size": "full", "model": NOISY_MLP, "augmentation": {"flip": True, "crop": 1}}
    whole = trained(**fields)
    assert_same(trained(whole[1].checkpoint, **fields)[-1], whole[-1])

"""CUDA graph step: bit-identical to the eager step, no synchronization, fallback to eager if the capture fails."""

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from orchestrator.study.record import Record
from orchestrator.training.cuda.captured_step import CAPTURE_VARIABLE, CapturedStep, training_step
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import TrainedRecord, train
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.step import EagerStep
from orchestrator.training.trainer import train_epoch
from tests.training.trials import digits, small_trial

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine lacks")
CUDA = torch.device("cuda")
NOTHING = {"fraction": 0.05, "estimators": []}
NOISY_CNN = {"name": "cnn", "dropout": 0.2, "batch_norm": True}
AUGMENTED = {"flip": True, "crop": 1}
COSINE = {"name": "cosine", "final": 0.1, "warmup_epochs": 1}
OPTIMIZERS: list[dict[str, object]] = [
    {"name": "sgd", "lr": 0.05},
    {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.001},
    {"name": "adam", "lr": 0.001, "weight_decay": 0.01},
    {"name": "adamw", "lr": 0.001},
    {"name": "adagrad", "lr": 0.01},
    {"name": "adagrad", "lr": 0.01, "lr_decay": 0.001, "weight_decay": 0.01},
    {"name": "rmsprop", "lr": 0.001},
    {"name": "rmsprop", "lr": 0.001, "momentum": 0.5, "weight_decay": 0.01},
    {"name": "sgd", "lr": 0.05, "gradient_clip": 0.1},
]
EAGER: list[dict[str, object]] = [
    {"name": "sgd", "lr": 0.05, "sam": {"rho": 0.05}},
    {"name": "torch.optim:NAdam", "lr": 0.001},
]
TRIALS: list[dict[str, object]] = [
    *({"optimizer": optimizer} for optimizer in OPTIMIZERS),
    *({"optimizer": optimizer, "schedule": COSINE, "model": NOISY_CNN} for optimizer in OPTIMIZERS),
    {"model": NOISY_CNN, "augmentation": AUGMENTED},
    {"model": {"name": "mlp", "hidden": [20, 10], "dropout": 0.2, "batch_norm": True}, "augmentation": AUGMENTED},
    {"model": {"name": "tests.training.user_nets:Plain", "width": 9}},
]
UNFIT = {
    "Waiting": "a synchronizing CUDA operation",
    "Drawing": "the model draws random numbers on the CPU",
    "CountingCalls": "the model changes an attribute of CountingCalls",
    "Remembering": "the model changes an attribute of Remembering",
    "Synchronising": "",
}


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    with reproducible(1):
        yield


@functools.cache
def on_cuda() -> DataSplits:
    return load_data(small_trial().data, CUDA)


def trained(plain: bool = False, checkpoint: bytes | None = None, **fields: object) -> list[TrainedRecord]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CAPTURE_VARIABLE, "0" if plain else "1")
        return list(train(small_trial(measurement=NOTHING, **fields), on_cuda(), CUDA, checkpoint))


def assert_same(ours: list[TrainedRecord], theirs: list[TrainedRecord]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.record.differences(other.record) == {}
        assert one.checkpoint == other.checkpoint


def test_steps_are_eager_on_a_cpu() -> None:
    trial = small_trial()
    model = build_model(trial.model, Signature((1, 8, 8), 10), 0)
    optimizer = build_optimizer(trial.optimizer, model.parameters())
    assert isinstance(training_step(model, optimizer, digits(), trial), EagerStep)


@needs_cuda
def test_capture_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = small_trial()
    model = build_model(trial.model, Signature((1, 8, 8), 10), 0).to(CUDA)
    optimizer = build_optimizer(trial.optimizer, model.parameters())
    assert isinstance(training_step(model, optimizer, on_cuda(), trial), CapturedStep)
    monkeypatch.setenv(CAPTURE_VARIABLE, "0")
    assert isinstance(training_step(model, optimizer, on_cuda(), trial), EagerStep)


@needs_cuda
@pytest.mark.parametrize("fields", TRIALS, ids=str)
def test_captured_and_eager_steps_are_bit_identical(
    fields: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    captured = trained(**fields)
    assert caplog.messages == []
    assert_same(captured, trained(plain=True, **fields))


@needs_cuda
@pytest.mark.parametrize("fields", TRIALS[len(OPTIMIZERS) : 2 * len(OPTIMIZERS) : 2], ids=str)
def test_resumed_trial_is_bit_identical(fields: dict[str, object]) -> None:
    whole = trained(epochs=3, **fields)
    assert_same(trained(checkpoint=whole[1].checkpoint, epochs=3, **fields), whole[2:])


@needs_cuda
@pytest.mark.parametrize("optimizer", EAGER, ids=str)
def test_steps_of_other_optimizers_are_eager(optimizer: dict[str, object]) -> None:
    trial = small_trial(optimizer=optimizer, model=NOISY_CNN)
    model = build_model(trial.model, on_cuda().signature, 0).to(CUDA)
    built = build_optimizer(trial.optimizer, model.parameters())
    assert isinstance(training_step(model, built, on_cuda(), trial), EagerStep)
    whole = trained(epochs=3, model=NOISY_CNN, optimizer=optimizer)
    assert_same(trained(checkpoint=whole[1].checkpoint, epochs=3, model=NOISY_CNN, optimizer=optimizer), whole[2:])


@needs_cuda
def test_full_batches_are_captured() -> None:
    fields = {"batch_size": "full", "epochs": 5, "model": NOISY_CNN}
    assert_same(trained(**fields), trained(plain=True, **fields))


@needs_cuda
def test_captured_steps_resume_inside_epochs_bit_for_bit() -> None:
    fields = {"model": NOISY_CNN, "epochs": None, "steps": 40, "record_every": "9 steps"}
    whole = trained(**fields)
    assert_same(whole, trained(plain=True, **fields))
    for end in whole[:-1]:
        assert_same(trained(checkpoint=end.checkpoint, **fields), whole[end.record.number + 1 :])


@needs_cuda
def test_measurement_does_not_change_captured_training() -> None:
    measured = list(train(small_trial(model=NOISY_CNN), on_cuda(), CUDA))
    for one, other in zip(measured, trained(model=NOISY_CNN), strict=True):
        assert one.checkpoint == other.checkpoint


@needs_cuda
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_checkpoint_can_be_resumed_on_another_device(optimizer: dict[str, object]) -> None:
    trial = small_trial(optimizer=optimizer, measurement=NOTHING, epochs=2)
    here = list(train(trial, digits(), torch.device("cpu")))
    moved = list(train(trial, on_cuda(), CUDA, here[1].checkpoint))
    back = list(train(trial, digits(), torch.device("cpu"), trained(optimizer=optimizer)[1].checkpoint))
    for ends in (moved, back):
        (end,) = ends
        assert end.record.epoch == 2
        assert _loss(end.record) == pytest.approx(_loss(here[2].record), rel=0.1)


def _loss(record: Record) -> float:
    assert record.loss_train is not None
    return record.loss_train


@needs_cuda
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_no_device_synchronization_within_an_epoch(optimizer: dict[str, object], plain: bool) -> None:
    trial = small_trial(optimizer=optimizer, schedule=COSINE, model=NOISY_CNN, augmentation=AUGMENTED, epochs=3)
    model = build_model(trial.model, Signature((1, 8, 8), 10), 0).to(CUDA)
    built = build_optimizer(trial.optimizer, model.parameters())
    eager = EagerStep(model, built, on_cuda(), trial.optimizer)
    step = eager if plain else training_step(model, built, on_cuda(), trial)
    train_epoch(model, built, on_cuda(), trial, 1, step)
    assert plain or step.is_graph  # type: ignore[union-attr]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_epoch(model, built, on_cuda(), trial, 2, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@pytest.mark.parametrize("name", UNFIT)
def test_uncapturable_network_falls_back_to_eager_step(name: str, caplog: pytest.LogCaptureFixture) -> None:
    fields = {"model": {"name": f"tests.training.uncapturable_nets:{name}"}}
    captured = trained(**fields)
    (message,) = caplog.messages
    assert f"the training step of model tests.training.uncapturable_nets:{name} runs eagerly" in message
    assert UNFIT[name] in message
    assert "captured as a CUDA graph: " in message
    assert_same(captured, trained(plain=True, **fields))
    # A failed capture does not prevent the capture of the next trial.
    assert_same(trained(model=NOISY_CNN), trained(plain=True, model=NOISY_CNN))


@needs_cuda
def test_infinite_values_do_not_prevent_capture(caplog: pytest.LogCaptureFixture) -> None:
    fields = {"optimizer": {"name": "sgd", "lr": 1e30}}
    assert_same(trained(**fields), trained(plain=True, **fields))
    assert caplog.messages == []


@needs_cuda
def test_no_capture_if_an_epoch_has_too_few_full_batches() -> None:
    trial = small_trial(batch_size=1000)
    data = on_cuda()
    model = build_model(trial.model, Signature((1, 8, 8), 10), 0).to(CUDA)
    optimizer = build_optimizer(trial.optimizer, model.parameters())
    step = training_step(model, optimizer, replace(data, train=data.train[:1500]), trial)
    assert isinstance(step, CapturedStep)
    train_epoch(model, optimizer, data, trial, 1, step)
    assert not step.is_graph

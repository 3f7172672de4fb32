"""The epoch loop: epoch 0, bit-identical resuming, divergence and learning."""

import io

import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.study.record import Record
from orchestrator.training.data.images.augmentation import draw_augmentation
from orchestrator.training.loop import TrainedRecord, train
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature
from orchestrator.training.optimizers.schedules import learning_rate_factor
from orchestrator.training.streams import derived_seed, stream
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.training.trials import CPU, digits, few_digits, small_trial

ADAM = {"name": "adam", "lr": 0.001, "weight_decay": 0.01}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
OPTIMIZERS: list[dict[str, object]] = [
    SGD,
    {**SGD, "nesterov": True},
    ADAM,
    {"name": "adamw", "lr": 0.001},
    {"name": "adagrad", "lr": 0.01, "lr_decay": 0.001},
    {"name": "rmsprop", "lr": 0.001, "momentum": 0.5},
]
CNN = {"name": "cnn"}
NOISY_CNN = {"name": "cnn", "dropout": 0.2, "batch_norm": True}
SMALL = {"name": "mlp", "hidden": [20, 10]}
NOISY_MLP = {**SMALL, "dropout": 0.2, "batch_norm": True}
OWN = {"name": "tests.training.user_nets:Plain", "width": 9}
RESNET = {"name": "resnet", "depth": 8, "width": 4}
VIT = {"name": "vit", "width": 16, "depth": 1, "heads": 2, "patch": 2, "dropout": 0.1}
AUGMENTED = {"flip": True, "crop": 1}
SCHEDULES = [
    {"name": "constant", "warmup_epochs": 2},
    {"name": "cosine", "final": 0.1, "warmup_epochs": 1},
    {"name": "step", "every": 1, "factor": 0.5},
]
RESUMED: list[dict[str, object]] = [
    {"optimizer": ADAM, "model": CNN},
    *(
        {"optimizer": optimizer, "model": NOISY_MLP, "schedule": schedule}
        for optimizer, schedule in zip(OPTIMIZERS, SCHEDULES * 2, strict=True)
    ),
    *({"model": model, "augmentation": AUGMENTED} for model in (NOISY_CNN, NOISY_MLP, OWN, RESNET, VIT)),
]
MEASURED: list[dict[str, object]] = [
    *({"model": NOISY_MLP, "optimizer": optimizer} for optimizer in OPTIMIZERS[1:]),
    *({"model": model, "optimizer": SGD} for model in (CNN, NOISY_CNN, RESNET, VIT)),
]
NOTHING = {"fraction": 0.05, "estimators": []}


def trained(checkpoint: bytes | None = None, **fields: object) -> list[TrainedRecord]:
    """Trains on a few digits."""
    return list(train(small_trial(**fields), few_digits(), CPU, checkpoint))


def learned(**fields: object) -> list[Record]:
    """Trains on all digits and measures nothing."""
    return [epoch.record for epoch in train(small_trial(epochs=4, measurement=NOTHING, **fields), digits(), CPU)]


def state(epoch: TrainedRecord) -> dict[str, torch.Tensor]:
    return torch.load(io.BytesIO(epoch.checkpoint), weights_only=True)["model"]


def test_epoch_0_measures_the_untrained_model() -> None:
    first, *rest = trained(epochs=1)
    assert [first.record.epoch, *(epoch.record.epoch for epoch in rest)] == [0, 1]
    assert first.record.metrics().keys() == rest[0].record.metrics().keys()
    untrained = build_model(small_trial().model, Signature((1, 8, 8), 10), 0)
    assert all(torch.equal(tensor, state(first)[name]) for name, tensor in untrained.state_dict().items())


def assert_same(ours: TrainedRecord, theirs: TrainedRecord) -> None:
    """Compares records, weights, buffers and the optimizer's state bit for bit."""
    assert ours.record.differences(theirs.record) == {}
    assert ours.checkpoint == theirs.checkpoint


@pytest.mark.parametrize("fields", RESUMED, ids=str)
def test_resumed_trial_is_bit_identical(fields: dict[str, object]) -> None:
    whole = trained(epochs=3, **fields)
    resumed = trained(whole[1].checkpoint, epochs=3, **fields)
    assert [epoch.record.epoch for epoch in resumed] == [2, 3]
    for ours, theirs in zip(resumed, whole[2:], strict=True):
        assert_same(ours, theirs)


def test_more_epochs_do_not_change_earlier_epochs() -> None:
    shorter, longer = (trained(epochs=epochs, model=NOISY_MLP) for epochs in (1, 2))
    for ours, theirs in zip(shorter, longer[:2], strict=True):
        assert ours.record.differences(theirs.record) == {}


@pytest.mark.parametrize("fields", MEASURED, ids=str)
def test_measuring_does_not_change_the_weights(fields: dict[str, object]) -> None:
    often = {"fraction": 0.05, "algorithm1_iterations": 2, "algorithm1_probes": 2, "lanczos_products": 2}
    never = {"fraction": 0.02, "estimators": []}
    ours, theirs = (trained(measurement=measurement, **fields)[-1] for measurement in (often, never))
    assert ours.record.hessian_trace is not None
    assert theirs.record.hessian_trace is None
    assert ours.checkpoint == theirs.checkpoint


def test_training_equals_a_plain_loop() -> None:
    trial = small_trial(
        epochs=2,
        model=NOISY_MLP,
        augmentation=AUGMENTED,
        schedule={"name": "cosine", "warmup_epochs": 1},
        optimizer={"name": "adam", "lr": 0.003},
        measurement=NOTHING,
    )
    data = digits()
    model = build_model(trial.model, data.signature, 0).train()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for epoch in (1, 2):
        torch.manual_seed(derived_seed(0, "layer noise", epoch))
        changes = draw_augmentation(trial.augmentation, 1294, 0, epoch, CPU)
        assert changes is not None
        order = torch.randperm(1294, generator=stream(0, "order of images", epoch))
        for number in range(21):
            index = order[64 * number : 64 * number + 64]
            step = 21 * (epoch - 1) + number
            optimizer.param_groups[0]["lr"] = 0.003 * learning_rate_factor(trial.schedule, 42, 21, step)
            optimizer.zero_grad()
            outputs = model(data.normalise(changes.apply(data.train.inputs[index], index)))
            cross_entropy(outputs, data.train.targets[index]).backward()
            optimizer.step()
    theirs = state(list(train(trial, data, CPU))[-1])
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


def test_full_batches_are_steps_on_all_images_in_the_order_of_the_data() -> None:
    trial = small_trial(epochs=2, model=SMALL, batch_size="full", measurement=NOTHING)
    data = few_digits()
    model = build_model(trial.model, data.signature, 0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(model(data.normalise(data.train.inputs)), data.train.targets).backward()
        optimizer.step()
    theirs = state(list(train(trial, data, CPU))[-1])
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.state_dict().items())


def test_each_option_changes_what_is_learned() -> None:
    options: list[dict[str, object]] = [
        {},
        *({"schedule": schedule} for schedule in SCHEDULES),
        *({"augmentation": augmentation} for augmentation in ({"flip": True}, {"crop": 1})),
        *({"model": {**SMALL, **option}} for option in ({"dropout": 0.1}, {"batch_norm": True}, {"hidden": [21, 10]})),
    ]
    fields = {"model": SMALL, "epochs": 2, "measurement": NOTHING}
    losses = [trained(**{**fields, **option})[-1].record.loss_validation for option in options]
    assert len(set(losses)) == len(options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer["name"])
def test_every_optimizer_learns(optimizer: dict[str, object]) -> None:
    first, *_, last = learned(model={"name": "mlp", "hidden": [100]}, optimizer=optimizer)
    assert last.loss_train is not None
    assert first.loss_train is not None
    assert last.loss_train < first.loss_train / 2


@pytest.mark.parametrize("model", [NOISY_CNN, NOISY_MLP, OWN, RESNET], ids=lambda model: model["name"])
def test_every_model_learns(model: dict[str, object]) -> None:
    last = learned(model=model)[-1]
    assert last.accuracy_test is not None
    assert last.accuracy_test > 0.7


def test_the_vit_learns() -> None:
    last = learned(model=VIT, optimizer={"name": "adam", "lr": 0.01})[-1]
    assert last.accuracy_test is not None
    assert last.accuracy_test > 0.5


def test_adam_learns_to_80_percent_test_accuracy() -> None:
    last = learned(model=CNN, optimizer=ADAM)[-1]
    assert last.accuracy_test is not None
    assert last.accuracy_test > 0.8


def test_infinite_loss_is_recorded_and_ends_the_trial() -> None:
    epochs = trained(epochs=5, optimizer={"name": "sgd", "lr": 1e12})
    last = epochs[-1].record
    assert last.diverged
    assert last.epoch < 5
    assert last.hessian_lambda_max is None
    assert last.accuracy_test is not None
    assert not epochs[0].record.diverged


def test_different_seeds_give_different_losses() -> None:
    first, second = (trained(seed=seed, model=SMALL, epochs=1, measurement=NOTHING)[-1].record for seed in (0, 1))
    assert "loss/train" in first.differences(second)


def test_evaluation_and_measurement_use_images_without_augmentation() -> None:
    plain, augmented = (
        next(train(small_trial(augmentation=fields), digits(), CPU)).record for fields in ({}, AUGMENTED)
    )
    assert plain.differences(augmented) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": NOISY_CNN, "batch_size": 1293}, "batches of 1293 leave a last batch of 1 of 1294 training images"),
        (
            {"optimizer": {"name": "torch.optim:NAdam", "lr": -1}},
            "optimizer 'torch.optim:NAdam' raised when called with lr=-1: ValueError: Invalid learning rate: -1",
        ),
        ({"augmentation": {"crop": 8}}, "augmentation.crop is 8, expected less than the size of the images, 8x8"),
        ({"model": {"name": "tests.training.user_nets:Plian"}}, "has no class 'Plian'; did you mean 'Plain'"),
    ],
)
def test_unfit_config_is_reported_before_training(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(train(small_trial(**fields), digits(), CPU))


def test_exception_of_the_users_network_during_training_is_reported() -> None:
    own = {"name": "tests.training.user_nets:BrokenPass", "in_training": True}
    with pytest.raises(
        UserCodeError, match="raised when trained and evaluated in epoch 1: ValueError: a bug in the pa"
    ):
        trained(model=own, measurement=NOTHING)

"""Records inside epochs: they change neither weights nor random streams, and a trial resumes at each of them."""

import io
from typing import Any

import pytest
import torch

from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.training.checkpoint import load_model
from orchestrator.training.loop import TrainedRecord, train
from tests.training.trials import CPU, few_colour_digits, few_digits, small_trial

NOISY: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [20, 10], "dropout": 0.2, "batch_norm": True},
    "augmentation": {"flip": True, "crop": 1},
    "epochs": None,
}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
ADAM = {"name": "adam", "lr": 0.003}
BATCHES = 5
"""Batches of 64 in an epoch of `few_digits`."""


def trained(checkpoint: bytes | None = None, **fields: Any) -> list[TrainedRecord]:
    return list(train(small_trial(**fields), few_digits(), CPU, checkpoint))


def weights(end: TrainedRecord) -> dict[str, torch.Tensor]:
    return torch.load(io.BytesIO(end.checkpoint), weights_only=True)["model"]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_trial_resumes_bit_for_bit_at_every_record(optimizer: dict[str, Any], schedule: str) -> None:
    fields = {
        **NOISY,
        "optimizer": optimizer,
        "schedule": {"name": schedule, "warmup_epochs": 1},
        "steps": 13,
        "record_every": "3 steps",
    }
    whole = trained(**fields)
    assert [end.record.step for end in whole] == [0, 3, 6, 9, 12, 13]
    assert [end.record.epoch for end in whole] == [0, 0.6, 1.2, 1.8, 2.4, 2.6]
    for end in whole[:-1]:
        torch.manual_seed(7)  # a resumed trial finds other global generators
        for ours, theirs in zip(trained(end.checkpoint, **fields), whole[end.record.number + 1 :], strict=True):
            assert ours.record.differences(theirs.record) == {}
            assert ours.checkpoint == theirs.checkpoint


@pytest.mark.parametrize(
    "model",
    [
        {"name": "cnn", "batch_norm": True, "dropout": 0.2},
        {"name": "tests.training.user_nets:Views"},
        {"name": "tests.training.user_nets:ReadsStridesLater"},
    ],
    ids=lambda model: model["name"],
)
def test_training_on_colour_images_resumes_bit_for_bit(model: dict[str, Any]) -> None:
    """The memory format depends on the untrained network, so it is the same after every checkpoint."""
    measurement = {"fraction": 0.05, "estimators": []}
    fields = {**NOISY, "model": model, "measurement": measurement, "steps": 9, "record_every": "3 steps"}
    data, trial = few_colour_digits(), small_trial(**fields)
    whole, again = (list(train(trial, data, CPU)) for _ in range(2))
    assert [end.checkpoint for end in again] == [end.checkpoint for end in whole]
    for end in whole[:-1]:
        resumed = list(train(trial, data, CPU, end.checkpoint))
        assert [later.checkpoint for later in resumed] == [later.checkpoint for later in whole[end.record.number + 1 :]]


@pytest.mark.parametrize("batch_size", [64, "full"])
def test_the_weights_do_not_depend_on_the_records(batch_size: int | str) -> None:
    epochs = trained(**{**NOISY, "epochs": 2, "batch_size": batch_size})
    steps = 2 * (BATCHES if batch_size == 64 else 1)
    fields = {**NOISY, "steps": steps, "batch_size": batch_size}
    for every in (1, steps // 2 + 1, steps):
        ours, theirs = weights(trained(**fields, record_every=f"{every} steps")[-1]), weights(epochs[-1])
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    once = trained(**{**NOISY, "epochs": 2, "batch_size": batch_size, "record_every": "2 epochs"})
    assert [end.record.epoch for end in once] == [0, 2]
    assert once[-1].record.loss_train == epochs[-1].record.loss_train


def test_whole_epochs_are_ints() -> None:
    ends = trained(**NOISY, steps=2 * BATCHES, record_every=f"{BATCHES} steps")
    assert [repr(end.record.epoch) for end in ends] == ["0", "1", "2"]
    assert [end.record.steps_per_epoch for end in ends] == [None, BATCHES, BATCHES]


def test_a_checkpoint_of_version_0_1_is_continued() -> None:
    fields = {**NOISY, "epochs": 3}
    whole = trained(**fields)
    content = torch.load(io.BytesIO(whole[1].checkpoint), weights_only=True)
    early = io.BytesIO()
    torch.save({key: content[key] for key in ("epoch", "model", "optimizer")}, early)
    resumed = trained(early.getvalue(), **fields)
    assert [end.record.number for end in resumed] == [2, 3]
    assert resumed[-1].record.differences(whole[-1].record) == {}
    assert resumed[-1].record.step == 3 * BATCHES


def test_a_checkpoint_inside_an_epoch_can_be_measured() -> None:
    trial = small_trial(**NOISY, steps=3, record_every="3 steps")
    last = trained(**NOISY, steps=3, record_every="3 steps")[-1]
    model = load_model(trial, few_digits(), CPU, last.checkpoint)
    assert all(torch.equal(tensor, weights(last)[name]) for name, tensor in model.state_dict().items())


def test_records_contain_what_is_due() -> None:
    measurement = {"fraction": 0.05, "every": 2, "algorithm1_every": 4, "lanczos_products": 2, "algorithm1_probes": 2}
    ends = trained(**NOISY, steps=8, record_every="1 step", evaluate_every=3, measurement=measurement)
    records = [end.record for end in ends]
    assert all(record.loss_train is not None and record.accuracy_train is not None for record in records)
    for key in ("loss_validation", "loss_test", "loss_ood", "accuracy_validation", "accuracy_test", "accuracy_ood"):
        assert [r.number for r in records if getattr(r, key) is not None] == [0, 3, 6]
    for key in ("gradient_norm", "hessian_lambda_min", "hessian_products", "time_measure_seconds"):
        assert [r.number for r in records if getattr(r, key) is not None] == [0, 2, 4, 6, 8]
    assert [r.number for r in records if r.algorithm1_trace is not None] == [0, 4, 8]


def test_a_trial_ends_at_its_threshold() -> None:
    fields = {
        **NOISY,
        "augmentation": {},
        "measurement": {"fraction": 1.0, "estimators": []},
        "record_every": "5 steps",
    }
    whole = [end.record.loss_train for end in trained(**fields, steps=50)]
    stopped = [end.record.loss_train for end in trained(**fields, steps=50, stop={"loss/train": 1.5})]
    assert stopped == whole[: len(stopped)]
    assert [loss <= 1.5 for loss in stopped] == [False] * (len(stopped) - 1) + [True]


def test_a_threshold_must_be_recorded() -> None:
    with pytest.raises(ValueError, match="stop names r2/train, which is not recorded for this data; use one of: loss/"):
        trained(**NOISY, steps=1, record_every="1 step", stop={"r2/train": 0.9})


def test_a_cosine_needs_steps_after_the_warm_up() -> None:
    cosine = {"name": "cosine", "warmup_epochs": 2}
    fields = {**NOISY, "schedule": cosine, "record_every": "1 step"}
    with pytest.raises(ValueError, match="warmup_epochs is 2, which is 10 steps here, expected less than steps, which"):
        trained(**fields, steps=10)
    assert len(trained(**fields, steps=11)) == 12


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_training_is_bit_identical_with_every_quantity(optimizer: dict[str, Any]) -> None:
    names = [
        name if name == "algorithm1" else {"name": name, "every": 1}
        for name in BUILT_IN
        if name != "sampled_trace"  # excludes exact_trace
    ]
    fields = {**NOISY, "optimizer": optimizer, "steps": 12, "record_every": "4 steps"}
    alone, measured = (
        trained(**fields, measurement={"fraction": 0.1, "estimators": estimators}) for estimators in ([], names)
    )
    assert {"stability/sharpness", "hessian/lambda_5"} <= measured[-1].record.metrics().keys()
    assert "stability/sharpness" not in alone[-1].record.metrics()
    # Checkpoints contain weights, buffers, random streams and the state of the optimizer.
    assert [end.checkpoint for end in measured] == [end.checkpoint for end in alone]

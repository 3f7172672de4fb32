"""Trial configs and their ids."""

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from pydantic import BaseModel, ValidationError

from orchestrator.study.config import TrialConfig
from orchestrator.study.overrides import put
from orchestrator.study.parts.fields import counts_for_identity
from orchestrator.study.quantities.catalogue import estimators_named
from orchestrator.study.yaml_file import parse_value
from tests.study.configs import MINIMAL, config, leaves, trials, with_field

GOLDEN = Path(__file__).with_name("golden_ids.json")

IMAGES = {"name": "image_folder", "path": "/images"}
ADAM = {"name": "adam", "lr": 0.001}
NAMED: dict[str, TrialConfig] = {
    "minimal": config(),
    "seed 3": config(seed=3),
    "batch size 32": config(batch_size=32),
    "sgd with momentum and weight decay": config(
        optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    ),
    "adam": config(optimizer=ADAM),
    "adam, other betas": config(optimizer={**ADAM, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6}),
    "image folder": config(data=IMAGES),
    "half the images, lanczos only": config(measurement={"fraction": 0.5, "estimators": ["lanczos"]}),
    "algorithm 1 every fifth epoch": config(measurement={"estimators": ["algorithm1"], "algorithm1_every": 5}),
    "lanczos from a coarse start, and the exact trace": config(
        measurement={
            "estimators": ["lanczos", "exact_trace"],
            "lanczos_coarse_fraction": 0.1,
            "lanczos_tolerance": 0.001,
        }
    ),
    "the sampled trace": config(measurement={"estimators": ["sampled_trace"]}),
    "cnn with dropout and batch norm": config(model={"name": "cnn", "dropout": 0.1, "batch_norm": True}),
    "mlp": config(model={"name": "mlp"}),
    "mlp, other layers": config(model={"name": "mlp", "hidden": [64]}),
    "a network of one's own": config(model={"name": "mine.models:Net"}),
    "a network of one's own with arguments": config(model={"name": "mine.models:Net", "width": 64, "kernels": [3, 5]}),
    "cnn with tanh": config(model={"name": "cnn", "activation": "tanh"}),
    "mlp with gelu and small weights": config(model={"name": "mlp", "activation": "gelu", "init_scale": 0.2}),
    "resnet": config(model={"name": "resnet"}),
    "resnet with group norm": config(model={"name": "resnet", "depth": 8, "width": 8, "norm": "group"}),
    "vit": config(model={"name": "vit"}),
    "transformer": config(model={"name": "transformer"}),
    "transformer with tied weights": config(model={"name": "transformer", "heads": 8, "dropout": 0.1, "tied": True}),
    "lstm": config(model={"name": "lstm"}),
    "gru": config(model={"name": "gru", "width": 32, "depth": 1}),
    "resnet18": config(model={"name": "torchvision", "architecture": "resnet18"}),
    "a vision transformer of torchvision": config(
        model={"name": "torchvision", "architecture": "vit_b_16", "image_size": 32}
    ),
    "cifar10": config(data={"name": "cifar10"}),
    "ten thousand of cifar10": config(data={"name": "cifar10", "train_subset": 10_000}),
    "cifar100": config(data={"name": "cifar100"}),
    "mnist": config(data={"name": "mnist"}),
    "fashion_mnist": config(data={"name": "fashion_mnist"}),
    "svhn": config(data={"name": "svhn"}),
    "flips and crops": config(augmentation={"flip": True, "crop": 4}),
    "nesterov": config(optimizer={"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True}),
    "adamw": config(optimizer={"name": "adamw", "lr": 0.001}),
    "adagrad": config(optimizer={"name": "adagrad", "lr": 0.01}),
    "rmsprop": config(optimizer={"name": "rmsprop", "lr": 0.001}),
    "a warm-up": config(schedule={"name": "constant", "warmup_epochs": 5}),
    "a cosine over 2 epochs": config(schedule={"name": "cosine"}),
    "a cosine over 70 epochs": config(schedule={"name": "cosine"}, epochs=70),
    "steps": config(schedule={"name": "step", "every": 30}),
    "mse": config(loss="mse"),
    "mse, mean over outputs": config(loss={"name": "mse", "factor": "mean"}),
    "label smoothing": config(loss={"name": "cross_entropy", "label_smoothing": 0.1}),
    "binary cross-entropy": config(loss="binary_cross_entropy"),
    "a loss of one's own": config(loss={"name": "mine.losses:huber", "delta": 0.5}),
    "four classes": config(data={"name": "digits", "classes": 4}),
    "two named classes": config(data={"name": "digits", "classes": ["1", "7"]}),
    "no validation, pixels": config(data={"name": "digits", "validation_fraction": 0.0, "normalise": "pixel"}),
    "less noise": config(data={"name": "digits", "shift": {"noise": 0.1, "before": "normalisation"}}),
    "a shift of one's own": config(data={"name": "digits", "shift": "mine.data:rotated"}),
    "diabetes": config(data={"name": "table", "dataset": "diabetes"}),
    "a table": config(data={"name": "table", "path": "/x.csv", "target": "y"}),
    "a text": config(data={"name": "text", "path": "/x.txt"}),
    "sorting": config(data={"name": "sorting"}),
    "data of one's own": config(data={"name": "mine.data:load", "count": 5}),
    "everything differs": config(
        data=IMAGES,
        optimizer={**ADAM, "beta1": 0.8, "beta2": 0.99, "eps": 1e-6, "weight_decay": 1e-4},
        batch_size=256,
        measurement={
            "fraction": 1.0,
            "estimators": ["algorithm1"],
            "lanczos_products": 20,
            "algorithm1_every": 2,
            "algorithm1_iterations": 50,
            "algorithm1_probes": 100,
        },
        seed=2**31 - 1,
    ),
}


def test_ids_equal_those_of_the_golden_file() -> None:
    ours = _json({name: trial.trial_id for name, trial in NAMED.items()})
    golden = GOLDEN.read_text() if GOLDEN.exists() else ""
    diff = "".join(difflib.unified_diff(golden.splitlines(True), ours.splitlines(True), "golden", "now"))
    assert not diff, (
        f"{diff}\nTrial ids changed: every trial stored under an old id would be computed again. New configs may be "
        f"added; to accept this on purpose, put this into {GOLDEN.name}:\n{ours}"
    )


def _json(ids: dict[str, str]) -> str:
    return json.dumps(ids, indent=2) + "\n"


def test_an_id_is_twelve_hex_digits_and_no_two_named_configs_share_one() -> None:
    ids = {trial.trial_id for trial in NAMED.values()}
    assert len(ids) == len(NAMED)
    assert all(len(trial_id) == 12 and int(trial_id, 16) >= 0 for trial_id in ids)


@pytest.mark.parametrize("trial", NAMED.values(), ids=NAMED)
def test_explicit_defaults_do_not_change_the_id(trial: TrialConfig) -> None:
    spelled_out = trial.model_dump()
    left_out = trial.model_dump(exclude_defaults=True)
    assert TrialConfig.model_validate(spelled_out).trial_id == trial.trial_id
    assert TrialConfig.model_validate(left_out).trial_id == trial.trial_id


def test_configs_without_defaults_are_shorter() -> None:
    assert set(config().model_dump(exclude_defaults=True)) == set(MINIMAL)
    assert "measurement" in config().model_dump()


def test_epochs_and_paths_do_not_change_the_id() -> None:
    assert config(epochs=2).trial_id == config(epochs=70).trial_id
    assert config(data=IMAGES).trial_id == config(data={**IMAGES, "path": "/elsewhere"}).trial_id
    assert config(data=IMAGES).trial_id != config().trial_id


def test_the_notation_of_a_number_does_not_change_the_id() -> None:
    whole = config(optimizer={"name": "sgd", "lr": 1})
    assert whole.trial_id == config(optimizer={"name": "sgd", "lr": 1.0}).trial_id
    assert isinstance(whole.optimizer.lr, float)
    spellings = ["1e-3", "1E-3", "0.001", "1.0e-3", ".1e-2", "+1e-3", "0.1e-2"]
    assert {config(optimizer={"name": "sgd", "lr": parse_value(text)}).trial_id for text in spellings} == {
        config(optimizer={"name": "sgd", "lr": 0.001}).trial_id
    }


def test_the_order_of_estimators_does_not_change_the_id() -> None:
    one = config(measurement={"estimators": ["algorithm1", "lanczos"]})
    assert one.measurement.estimators == estimators_named("lanczos", "algorithm1")
    assert one.trial_id == config().trial_id


OTHER: dict[str, Any] = {
    "model.dropout": 0.5,
    "model.batch_norm": True,
    "model.hidden": (10,),
    "model.activation": "gelu",
    "model.init": "kaiming_normal",
    "model.init_scale": 0.5,
    "model.depth": 26,
    "model.width": 32,
    "model.norm": "group",
    "model.patch": 2,
    "model.heads": 2,
    "model.tied": True,
    "model.architecture": "resnet34",
    "model.zero_init_residual": True,
    "data.train_subset": 10,
    "augmentation.flip": True,
    "augmentation.crop": 1,
    "optimizer.nesterov": True,
    "optimizer.alpha": 0.5,
    "optimizer.lr_decay": 0.5,
    "optimizer.initial_accumulator": 0.5,
    "schedule.warmup_epochs": 1,
    "schedule.every": 11,
    "schedule.factor": 0.5,
    "optimizer.lr": 0.06,
    "optimizer.momentum": 0.5,
    "optimizer.weight_decay": 0.5,
    "optimizer.beta1": 0.5,
    "optimizer.beta2": 0.5,
    "optimizer.eps": 0.5,
    "optimizer.sam": {"rho": 0.05},
    "optimizer.gradient_clip": 0.5,
    "loss.label_smoothing": 0.1,
    "data.classes": 4,
    "data.normalise": "pixel",
    "data.shift.noise": 0.1,
    "data.shift.before": "normalisation",
    "data.validation_fraction": 0.2,
    "data.context": 32,
    "data.tokens": "bytes",
    "data.length": 7,
    "data.vocabulary": 12,
    "data.sequences": 100,
    "data.test_sequences": 100,
    "loss.factor": 1.0,
    "batch_size": 65,
    "measurement.fraction": 0.2,
    "measurement.estimators": estimators_named("lanczos"),
    "measurement.every": 2,
    "measurement.lanczos_products": 11,
    "measurement.lanczos_coarse_fraction": 0.1,
    "measurement.lanczos_tolerance": 0.001,
    "measurement.algorithm1_every": 3,
    "measurement.algorithm1_iterations": 11,
    "measurement.algorithm1_probes": 11,
    "seed": 1,
    "epochs": 3,
    "record_every": "2 epochs",
    "evaluate_every": 2,
    "stop": {"loss/train": 0.01},
    "data.path": "/elsewhere",
}
"""A second value for every field except names. The golden file has a config for each name."""
NOT_COUNTED = {"epochs", "data.path"}


BASES = [
    config(data=IMAGES, optimizer={"name": "sgd", "lr": 0.05, "momentum": 0.9}),
    config(data={"name": "cifar10"}, model={"name": "mlp"}),
    *(config(model={"name": name}) for name in ("resnet", "vit", "transformer", "lstm", "gru")),
    config(model={"name": "torchvision", "architecture": "resnet18", "zero_init_residual": False}),
    *(config(optimizer={"name": name, "lr": 0.001}) for name in ("adam", "adamw", "adagrad", "rmsprop")),
    config(optimizer={"name": "torch.optim:NAdam", "lr": 0.001, "momentum": 0.9}),
    config(schedule={"name": "step", "every": 10}),
    config(loss="mse"),
    config(data={"name": "text", "path": "/text"}),
    config(data={"name": "sorting"}),
    config(data={"name": "mine.data:load"}),
]


@pytest.mark.parametrize("base", BASES, ids=str)
def test_every_other_field_changes_the_id(base: TrialConfig) -> None:
    # No trial has both epochs and steps.
    fields = [key for key in base.flat() if key.rpartition(".")[2] != "name" and key != "steps"]
    assert set(fields) <= set(OTHER), "a new field needs another value here"
    for key in fields:
        if key == "optimizer.nesterov" and not base.flat()["optimizer.momentum"]:
            continue
        changed = with_field(base, key, OTHER[key])
        assert changed != base
        assert (changed.trial_id == base.trial_id) == (key in NOT_COUNTED), key


def test_epochs_change_the_id_if_the_schedule_depends_on_them() -> None:
    cosine = config(schedule={"name": "cosine"}, epochs=70)
    assert cosine.trial_id != config(schedule={"name": "cosine"}, epochs=71).trial_id
    for schedule in ({"name": "constant", "warmup_epochs": 5}, {"name": "step", "every": 30}):
        assert config(schedule=schedule, epochs=70).trial_id == config(schedule=schedule, epochs=71).trial_id


def test_arguments_of_a_user_network_are_fields() -> None:
    trial = config(model={"name": "mine.models:Net", "width": 64})
    assert trial.flat()["model.width"] == 64
    assert trial.trial_id != config(model={"name": "mine.models:Net", "width": 65}).trial_id


def test_arguments_of_an_optimizer_class_are_fields() -> None:
    trial = config(optimizer={"name": "torch.optim:NAdam", "betas": [0.9, 0.99], "sam": {"rho": 0.1}})
    assert (trial.flat()["optimizer.betas"], trial.flat()["optimizer.sam.rho"]) == ([0.9, 0.99], 0.1)
    assert trial.trial_id != config(optimizer={"name": "torch.optim:NAdam", "betas": [0.9, 0.9]}).trial_id


def test_full_batches_change_the_id() -> None:
    assert config(batch_size="full").trial_id not in {config().trial_id, config(batch_size=1).trial_id}
    assert (config(batch_size="full").images_per_batch(70), config(batch_size=100).images_per_batch(70)) == (70, 100)


def test_only_lengths_and_paths_are_marked_as_not_identity() -> None:
    models: list[type[BaseModel]] = [TrialConfig]
    models += {type(value) for trial in NAMED.values() for value in _models(trial)}
    unmarked = {
        name for model in models for name, field in model.model_fields.items() if not counts_for_identity(field)
    }
    assert unmarked == {"epochs", "steps", "path"}


def _models(trial: TrialConfig) -> list[BaseModel]:
    return [value for name in type(trial).model_fields if isinstance(value := getattr(trial, name), BaseModel)]


@given(trials)
def test_a_config_survives_json(trial: TrialConfig) -> None:
    again = TrialConfig.model_validate_json(trial.model_dump_json())
    assert again == trial
    assert hash(again) == hash(trial)
    assert again.trial_id == trial.trial_id
    assert again.flat() == trial.flat()


@given(trials)
def test_flat_contains_every_field(trial: TrialConfig) -> None:
    assert trial.flat() == leaves(trial)


@given(trials)
def test_the_chosen_fields_determine_the_trial(trial: TrialConfig) -> None:
    chosen = trial.chosen()
    assert chosen.items() <= trial.flat().items()
    content: dict[str, Any] = {}
    for dotted, value in chosen.items():
        put(content, dotted, value)
    assert TrialConfig.model_validate(content) == trial


def test_defaults_are_not_chosen() -> None:
    assert set(config().chosen()) == {
        "model.name", "data.name", "loss.name", "optimizer.name", "optimizer.lr", "schedule.name", "epochs"
    }  # fmt: skip


@given(trials, trials)
def test_ids_are_equal_exactly_if_the_identity_fields_are(one: TrialConfig, two: TrialConfig) -> None:
    same = _counted(one) == _counted(two)
    assert (one.trial_id == two.trial_id) == same
    if not one.records_need_length and one.record_every == "1 epoch":
        assert with_field(one, "epochs", two.epochs or 1).trial_id == one.trial_id


def _counted(trial: TrialConfig) -> dict[str, Any]:
    length = {"epochs": trial.epochs, "steps": trial.steps} if trial.records_need_length else {}
    return {key: value for key, value in trial.flat().items() if key not in {*NOT_COUNTED, "steps"}} | length


@given(trials, trials)
def test_ids_differ_exactly_if_an_identity_field_differs(one: TrialConfig, two: TrialConfig) -> None:
    # Two random trials almost never have equal ids, so change a single field of one trial instead.
    for key in ("seed", "batch_size", "measurement.fraction", "measurement.estimators", "optimizer.lr"):
        mixed = with_field(one, key, two.flat()[key])
        assert (mixed.trial_id == one.trial_id) == (mixed.flat()[key] == one.flat()[key])


def test_a_config_is_immutable_at_every_level() -> None:
    trial = config()
    with pytest.raises(ValidationError, match="frozen"):
        trial.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        trial.optimizer.lr = 1.0
    assert {trial: "usable as a key"}[config()]


def test_a_cosine_needs_trained_after_the_warm_up() -> None:
    with pytest.raises(ValidationError, match="schedule.warmup_epochs is 2, expected less than epochs, which is 2"):
        config(schedule={"name": "cosine", "warmup_epochs": 2}, epochs=2)
    assert config(schedule={"name": "constant", "warmup_epochs": 2}, epochs=2).schedule.warmup_epochs == 2

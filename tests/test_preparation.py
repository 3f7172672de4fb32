"""Data is read and models are built before anything is scheduled, and errors in them are reported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import orchestrator.preparation
from orchestrator.preparation import check_models, prepare_data, store_gallery
from orchestrator.store.storage import Storage
from orchestrator.study.config import TrialConfig
from orchestrator.study.parts.data_config import Data
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_source
from orchestrator.training.data.samples import DataError
from orchestrator.training.measurement_check import check_measurement
from orchestrator.training.user_code.extension_point import UserCodeError
from tests.training.folders import make_folder
from tests.training.trials import small_trial

ONE_CPU = Resources(cpu=1)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """Records the name and subset of every data set that is read."""
    seen = []

    def noted(config: Data) -> DataSplits:
        seen.append((config.name, config.train_subset))
        return load_source(config)

    monkeypatch.setattr(orchestrator.preparation, "load_source", noted)
    return seen


def sweep(*data: dict[str, object]) -> Sweep:
    return Sweep("s", "", tuple(small_trial(data=content) for content in data), Resources(cpu=1))


def test_each_data_set_is_read_once_for_all_subsets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[tuple[str, int | None]]
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    images = {"name": "image_folder", "path": str(make_folder(tmp_path / "images"))}
    digits = {"name": "digits"}
    subsets = [{**digits, "train_subset": count} for count in (10, 1294, 500)]
    prepare_data(sweep(digits, *subsets, digits, images, {**images, "train_subset": 5}))
    assert read == [("digits", 1294), ("image_folder", 5)]


@pytest.mark.parametrize("others", [[], [None], [None, 7], [1294]])
@pytest.mark.parametrize("first", [True, False])
def test_a_subset_that_is_too_large_is_reported(others: list[int | None], first: bool) -> None:
    subsets = [1295, *others] if first else [*others, 1295]
    with pytest.raises(DataError, match=r"data.train_subset = 1295: digits has 1294 samples to train on"):
        prepare_data(sweep(*({"name": "digits", "train_subset": subset} for subset in subsets)))


def test_every_image_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    here = {"name": "image_folder", "path": str(make_folder(tmp_path / "here"))}
    with pytest.raises(DataError, match="gone' does not exist"):
        prepare_data(sweep(here, {**here, "path": str(tmp_path / "gone")}))


def misfits(*trials: TrialConfig) -> list[str]:
    try:
        check_models(Sweep("mine", "", trials, ONE_CPU))
    except ValueError as error:
        return str(error).split("\n  ")
    return []


def test_models_that_fit_their_data_pass() -> None:
    models = [{"name": name, "batch_norm": True, "dropout": 0.1} for name in ("cnn", "mlp")]
    assert misfits(*(small_trial(model=model, seed=seed) for model in models for seed in (0, 1))) == []


def test_all_misfits_are_reported_in_one_error() -> None:
    own = {"name": "tests.training.user_nets:Plain", "classes": 3}
    said = misfits(
        small_trial(),
        *(small_trial(model=own, seed=seed) for seed in (0, 1)),
        small_trial(augmentation={"crop": 9}),
        small_trial(model={"name": "cnn", "batch_norm": True}, batch_size=1293),
        small_trial(model={"name": "cnn"}, batch_size=1293),
        small_trial(model={"name": "no_such_place:Net"}),
    )
    assert [line.split(":")[0] for line in said[1:]] == [
        "augmentation.crop is 9, expected less than the size of the images, 8x8",
        "batches of 1293 leave a last batch of 1 of 1294 training images, and model 'cnn' has batch norm, which needs "
        "at least 2 images to normalise over",
        "model 'no_such_place",
    ]
    assert "Plain' gives (2, 3) for 2 images of shape (1, 8, 8), expected (2, 10)" in said[0]


def test_every_model_is_measured_once_for_each_choice_of_estimators(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, tuple[str, ...]]] = []

    def counted(config: TrialConfig, *rest: Any) -> None:
        measured.append((config.model.name, tuple(each.name for each in config.measurement.estimators)))
        check_measurement(config, *rest)

    monkeypatch.setattr(orchestrator.preparation, "check_measurement", counted)
    bad = {"name": "tests.training.user_nets:HardSigmoid"}
    lanczos = {"estimators": ["lanczos"]}
    said = misfits(
        *(small_trial(batch_size=size, seed=seed) for size in (8, 16) for seed in (0, 1)),
        *(small_trial(measurement={**lanczos, "fraction": fraction}) for fraction in (0.1, 0.2)),
        *(small_trial(model={"name": "mlp", "init_scale": scale}, measurement=lanczos) for scale in (0.5, 2.0)),
        *(small_trial(model=bad, optimizer={"name": "sgd", "lr": lr}) for lr in (0.1, 0.2)),
    )
    both = ("lanczos", "algorithm1")
    assert measured == [("mlp", both), ("mlp", ("lanczos",)), ("mlp", ("lanczos",)), (bad["name"], both)]
    assert [line.partition(" (")[0] for line in said] == [
        f"model {bad['name']} cannot be measured: the loss cannot be differentiated twice"
    ]


def test_each_model_is_built_on_each_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    images = {"name": "image_folder", "path": str(make_folder(tmp_path / "images"))}
    narrow = {"name": "image_folder", "path": str(make_folder(tmp_path / "narrow", size=(3, 8)))}
    cnn = {"name": "cnn"}
    said = misfits(*(small_trial(model=cnn, data=data) for data in ({"name": "digits"}, images, narrow)))
    assert said == ["model cnn pools twice and needs images of at least 4x4 pixels, not 3x8"]


def test_a_bug_in_a_user_defined_network_raises_model_code_error() -> None:
    with pytest.raises(UserCodeError, match="no width is good"):
        misfits(small_trial(model={"name": "tests.training.user_nets:Broken", "width": 1}))


def test_a_model_that_does_not_fit_into_memory_is_named() -> None:
    (said,) = misfits(small_trial(model={"name": "mlp", "hidden": [10**14]}))
    assert said.startswith("model mlp does not fit into memory (")
    assert said.endswith(": make the model smaller, or use a machine with more memory")


def test_networks_whose_training_cannot_be_repeated_are_refused() -> None:
    (said,) = misfits(small_trial(model={"name": "tests.training.user_nets:DrawsWeights"}))
    assert "has other weights when it is built again" in said


def test_optimizers_that_a_class_names_are_checked_on_each_model() -> None:
    nadam, muon = {"name": "torch.optim:NAdam"}, {"name": "torch.optim:Muon"}
    said = misfits(
        *(small_trial(optimizer={**nadam, "lr": lr}) for lr in (0.1, -1, -2)),
        *(
            small_trial(model={"name": f"tests.training.user_nets:{net}"}, optimizer=muon)
            for net in ("WithoutBiases", "Plain")
        ),
    )
    assert [line.partition(";")[0] for line in said] == [
        "optimizer 'torch.optim:NAdam' raised when called with lr=-1: ValueError: Invalid learning rate: -1",
        "optimizer 'torch.optim:NAdam' raised when called with lr=-2: ValueError: Invalid learning rate: -2",
        "optimizer 'torch.optim:Muon' trains only parameters with 2 dimensions, and the network has one of shape (5,): "
        "name another optimizer, or a network without biases, convolutions and norms",
    ]


def test_data_that_differs_between_calls_is_refused() -> None:
    with pytest.raises(ValueError, match="from_entropy' returned different data when it was called again: seed"):
        check_models(sweep({"name": "tests.training.user_data:from_entropy"}))


def test_the_noise_of_the_gallery_does_not_depend_on_the_shift(tmp_path: Path) -> None:
    stores = [Storage(tmp_path).sweep(name) for name in ("default", "strong")]
    for store, shift in zip(stores, ({}, {"shift": {"noise": 0.8}}), strict=True):
        store_gallery(sweep({"name": "digits", **shift}), store)
    assert stores[0].gallery() == stores[1].gallery()


def test_the_gallery_is_stored_once(tmp_path: Path) -> None:
    config = small_trial()
    sweep, store = Sweep("toy", "", (config,), Resources()), Storage(tmp_path).sweep("toy")
    store_gallery(sweep, store)
    gallery = store.gallery()
    assert gallery is not None
    assert gallery.noise == (0.0, 0.1, 0.25)
    assert gallery.shape == (3, 4, 1, 8, 8)
    assert len(gallery.pixels) == 3 * 4 * 64
    other = replace(gallery, labels=("a", "b", "c", "d"))
    store.write_gallery(other)
    store_gallery(sweep, store)
    assert store.gallery() == other

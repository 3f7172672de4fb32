"""Stand-in data has the size of the real data, without a download."""

import socket

import pytest
import torch

from orchestrator.study.config import TrialConfig
from orchestrator.training.data.samples import DataError
from orchestrator.training.data.stand_in import probe_data, read_data
from tests.training.trials import CPU, digits, small_trial


def published(name: str, **fields: object) -> TrialConfig:
    return small_trial(data={"name": name, **fields})


def no_network(*arguments: object, **options: object) -> None:
    raise AssertionError("planning must not use the network")


@pytest.mark.parametrize(
    ("name", "shape", "classes", "sizes"),
    [
        ("cifar10", (3, 32, 32), 10, (45_000, 5_000, 10_000)),
        ("cifar100", (3, 32, 32), 100, (45_000, 5_000, 10_000)),
        ("mnist", (1, 28, 28), 10, (54_000, 6_000, 10_000)),
        ("fashion_mnist", (1, 28, 28), 10, (54_000, 6_000, 10_000)),
        ("svhn", (3, 32, 32), 10, (65_931, 7_326, 26_032)),
    ],
)
def test_published_data_sets_are_replaced_by_noise_of_the_same_size(
    monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, ...], classes: int, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(socket, "socket", no_network)
    config = published(name).data
    read_data([config])
    data = probe_data(config, CPU)
    assert (data.shape, len(data.classes)) == (shape, classes)
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert data.ood_noise.shape == data.test.inputs.shape
    assert data.train.inputs.dtype == torch.uint8
    assert int(data.train.targets.max()) == classes - 1
    normalised = data.normalise(data.train.inputs[:500])
    assert abs(float(normalised.mean())) < 0.1
    assert 0.9 < float(normalised.std()) < 1.1
    probe_data.cache_clear()


def test_noise_has_the_size_of_the_chosen_classes_and_splits() -> None:
    data = probe_data(published("cifar10", classes=["cat", "dog"], validation_fraction=0.0).data, CPU)
    assert (len(data.train), len(data.validation), len(data.test)) == (10_000, 0, 2_000)
    assert len(data.classes) == 2
    probe_data.cache_clear()


def test_noise_has_the_size_of_the_train_subset() -> None:
    data = probe_data(published("mnist", train_subset=1000).data, CPU)
    assert (len(data.train), len(data.validation), len(data.test)) == (1000, 6_000, 10_000)
    probe_data.cache_clear()


def test_local_data_is_used_directly() -> None:
    assert probe_data(small_trial().data, CPU) is digits()


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(DataError, match="data folder '/none/here' does not exist"):
        read_data([small_trial().data, published("image_folder", path="/none/here").data])

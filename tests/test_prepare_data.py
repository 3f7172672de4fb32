"""Data is read, and what is wrong with it said, before anything is scheduled."""

from pathlib import Path

import pytest

import orchestrator.trial
from orchestrator.study.data_config import Data
from orchestrator.study.sweep import Resources, Sweep
from orchestrator.training.data.cache import CACHE_VARIABLE
from orchestrator.training.data.datasets import load_source
from orchestrator.training.data.images import DataError, Source
from orchestrator.trial import prepare_data
from tests.training.folders import make_folder
from tests.training.trials import small_trial


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """Name and subset of every data set that is read."""
    seen = []

    def noted(config: Data) -> Source:
        seen.append((config.name, config.train_subset))
        return load_source(config)

    monkeypatch.setattr(orchestrator.trial, "load_source", noted)
    return seen


def sweep(*data: dict[str, object]) -> Sweep:
    return Sweep("s", "", tuple(small_trial(data=content) for content in data), Resources(cpu=1))


def test_every_set_is_read_once_whatever_its_subsets(
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
def test_the_subset_that_is_too_large_is_found_among_others(others: list[int | None], first: bool) -> None:
    subsets = [1295, *others] if first else [*others, 1295]
    with pytest.raises(DataError, match=r"data.train_subset = 1295: digits has 1294 images to train on"):
        prepare_data(sweep(*({"name": "digits", "train_subset": subset} for subset in subsets)))


def test_each_of_two_folders_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    here = {"name": "image_folder", "path": str(make_folder(tmp_path / "here"))}
    with pytest.raises(DataError, match="gone' does not exist"):
        prepare_data(sweep(here, {**here, "path": str(tmp_path / "gone")}))

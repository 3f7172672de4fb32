"""Data sets of a trial: paths are absolute, and only the path and the subset can be chosen."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.study.parts.data_config import DigitsData, ImageFolderData, TorchvisionData


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ImageFolderData(name="image_folder", path="images").path == str(tmp_path.resolve() / "images")
    assert TorchvisionData(name="mnist", path="../mnist").path == str(tmp_path.resolve().parent / "mnist")


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TorchvisionData(name="cifar10", path="~/images").path == str(tmp_path.resolve() / "images")


def test_an_unknown_home_folder_is_refused() -> None:
    with pytest.raises(ValidationError, match="home folder '~nobody-of-that-name' does not exist; write the full path"):
        TorchvisionData(name="cifar10", path="~nobody-of-that-name/x")


def test_a_published_data_set_needs_no_path() -> None:
    assert TorchvisionData(name="svhn").path is None
    with pytest.raises(ValidationError, match="Field required"):
        ImageFolderData(name="image_folder")  # type: ignore[call-arg]


def test_a_subset_has_at_least_one_image() -> None:
    assert DigitsData(name="digits", train_subset=1).train_subset == 1
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        DigitsData(name="digits", train_subset=0)

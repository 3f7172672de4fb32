"""Images of a folder."""

from pathlib import Path

import pytest

from benchmarks.harness.images import random_image_folder, resident_data
from benchmarks.harness.settings import Settings
from tests.training.folders import make_folder


def test_folder_with_too_few_images_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))
    folder = make_folder(tmp_path / "images")
    expected = "images' has 27 training images, expected at least 28: use a larger folder, or random images"
    with pytest.raises(ValueError, match=expected):
        resident_data(Settings(folder, "tiny", threads=1), needed=28)
    assert len(resident_data(Settings(folder, "tiny", threads=1), needed=27).train) == 27


def test_random_folder_can_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))
    data = resident_data(Settings(random_image_folder(tmp_path / "images", 40, 10), "tiny", threads=1), needed=36)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 10)

"""Images of a folder."""

from pathlib import Path

import pytest

from benchmarks.harness.images import resident_data
from benchmarks.harness.settings import Settings
from tests.training.folders import make_folder


def test_folder_with_too_few_images_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HESSIAN_DYNAMICS_CACHE", str(tmp_path / "cache"))
    folder = make_folder(tmp_path / "images")
    expected = "images' has 27 training images, expected at least 28: use a larger folder, or random images"
    with pytest.raises(ValueError, match=expected):
        resident_data(Settings(folder, "tiny", threads=1), needed=28)
    assert len(resident_data(Settings(folder, "tiny", threads=1), needed=27).train) == 27

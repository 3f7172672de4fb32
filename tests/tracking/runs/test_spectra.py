"""The image series of spectra in MLflow."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking.runs.spectra import image_files
from orchestrator.tracking.runs.tracked_run import TrackedRun
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import DIGEST, T0, Shown, assert_shows, attempt, manifest, record, sweep

DESIRED = sweep(seeds=1, epochs=5, measurement={"estimators": ["lanczos", {"name": "spectral_density", "every": 2}]})
SPECTRUM = {"hessian/spectral_density": (-1.0, 0.0, 5.0), "hessian/spectral_density_weights": (0.1, 0.8, 0.1)}
_RANDOM = re.compile(r"[0-9a-f-]{36}")


def _train(storage: Storage, first: int, last: int, ended: State | None = None) -> None:
    """Commits records of the first trial. Those with an even number have a spectrum."""
    config = DESIRED.trials[0]
    trial = storage.trial(config.trial_id)
    trial.write_config(config)
    trial.write_attempt(attempt(started_ms=T0 - 500 + 1000 * first, ended=ended))
    for number in range(first, last + 1):
        raw = SPECTRUM if number % 2 == 0 else {}
        trial.commit(replace(record(number), raw=raw), b"state", DIGEST, "now")


def _images(uri: str) -> list[str]:
    """The images of the first trial's run in the order of names."""
    shown = Shown(uri)
    run = shown.trials[DESIRED.trials[0].trial_id]
    return sorted(each.path for each in shown.client.list_artifacts(run.info.run_id, "images"))


def _steps(uri: str) -> list[int]:
    return sorted(int(name.split("+")[2]) for name in _images(uri) if name.endswith(".png"))


def test_every_spectrum_is_an_image_while_the_trial_runs(tmp_path: Path, uri: str) -> None:
    storage = manifest(tmp_path / "results", DESIRED)
    _train(storage, 0, 3)
    ship(storage, "toy", uri)
    assert _steps(uri) == [0, 2]
    _train(storage, 4, 5, State.COMPLETED)
    ship(storage, "toy", uri)
    assert _steps(uri) == [0, 2, 4]
    assert len(_images(uri)) == 6
    run = assert_shows(uri, storage, DESIRED).trials[DESIRED.trials[0].trial_id]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    before = _images(uri)
    ship(storage, "toy", uri)
    assert _images(uri) == before


class KilledError(BaseException):
    """Ends a shipper between two requests."""


@pytest.mark.parametrize("uploads", [0, 1, 2, 3])
def test_images_are_shown_once_although_the_shipper_was_killed(
    uploads: int, tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = manifest(tmp_path / "results", DESIRED)
    _train(storage, 0, 5, State.COMPLETED)
    upload, left = TrackedRun.upload, iter(range(uploads))

    def upload_some(run: TrackedRun, file: str, content: str | bytes) -> None:
        upload(run, file, content)
        if file.startswith("images/") and next(left, None) is None:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "upload", upload_some)
        with pytest.raises(KilledError):
            ship(storage, "toy", uri)
    assert len(_images(uri)) == uploads + 1
    ship(storage, "toy", uri)
    assert _steps(uri) == [0, 2, 4]
    assert len(_images(uri)) == 6


def test_lost_images_are_uploaded_again(tmp_path: Path, uri: str) -> None:
    storage = manifest(tmp_path / "results", DESIRED)
    _train(storage, 0, 5, State.COMPLETED)
    ship(storage, "toy", uri)
    before = _images(uri)
    shutil.rmtree(tmp_path / "mlartifacts")
    ship(storage, "toy", uri)
    assert _images(uri) == before


def test_names_have_the_format_of_mlflow(tmp_path: Path, uri: str) -> None:
    storage = manifest(tmp_path / "results", DESIRED)
    _train(storage, 0, 2)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    other = shown.trials[DESIRED.trials[1].trial_id].info.run_id
    shown.client.log_image(other, Image.new("RGB", (640, 400)), key="spectra", step=2, timestamp=record(2).timestamp_ms)
    theirs = [each.path for each in shown.client.list_artifacts(other, "images")]
    ours = [name for name in _images(uri) if "+step+2+" in name]
    assert sorted(_RANDOM.sub("", name) for name in ours) == sorted(_RANDOM.sub("", name) for name in theirs)
    assert shown.client.get_run(other).data.tags["mlflow.loggedImages"] == "True"


def test_a_record_has_an_image_and_a_preview() -> None:
    files = image_files(replace(record(2), raw=SPECTRUM), "abc", 2)
    assert [Image.open(io.BytesIO(content)).format for content in files.values()] == ["PNG", "WEBP"]
    assert image_files(replace(record(2), raw=SPECTRUM), "abc", 2) == files
    assert set(image_files(replace(record(2), raw=SPECTRUM), "abd", 2)).isdisjoint(files)


@pytest.mark.parametrize("raw", [{}, {**SPECTRUM, "hessian/spectral_density": (0.0, 1.0, float("nan"))}])
def test_records_without_a_finite_spectrum_have_none(raw: dict[str, tuple[float, ...]]) -> None:
    assert image_files(replace(record(2), raw=raw), "abc", 2) == {}

"""Artifacts that the tracker lost are uploaded again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store.frames import read_frames
from orchestrator.store.gallery import Gallery
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking.read_back import TrackerContentError, frames_from_mlflow
from orchestrator.tracking.runs.tracked_run import TrackedRun
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import Shown, assert_shows, manifest, measure, rows, sweep, train, vectors

DESIRED = sweep(seeds=1)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A storage with every kind of artifact."""
    storage = manifest(tmp_path / "results", DESIRED)
    done, failed = DESIRED.trials
    train(storage, done, 0, 1)
    train(storage, done, 2, 3, State.COMPLETED)
    measure(storage, done, 3)
    train(storage, failed, 0, 1, State.FAILED, reason="RuntimeError: out of memory")
    storage.sweep("toy").write_gallery(Gallery((0.0, 0.25), ("cat",), (2, 1, 1, 2, 2), bytes(range(8))))
    return storage


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


@pytest.mark.parametrize("lose", [shutil.rmtree, empty, move])
def test_lost_artifacts_are_uploaded_again(
    lose: Callable[[Path], None], tmp_path: Path, uri: str, storage: Storage, lines: list[str]
) -> None:
    ship(storage, "toy", uri)
    folder = tmp_path / "mlartifacts"
    before, points = files(folder), rows(tmp_path / "mlflow.db")
    assert len(before) == 7
    lose(folder)
    with pytest.raises(TrackerContentError, match=r"run \w+ lacks the artifact manifest.json.*; ship it first: hess"):
        frames_from_mlflow("toy", uri)
    del lines[:]
    assert ship(storage, "toy", uri).complete
    assert files(folder) == before
    assert rows(tmp_path / "mlflow.db") == points
    assert lines[0] == "the tracker has lost the artifacts of sweep toy; they are uploaded again"
    assert frames_from_mlflow("toy", uri).points == read_frames(storage, "toy").points
    ship(storage, "toy", uri)
    assert lines.count(lines[0]) == 1


class KilledError(BaseException):
    """Ends a shipper between two requests."""


@pytest.mark.parametrize("uploads", [0, 1, 4])
def test_artifacts_are_complete_although_uploading_them_again_was_interrupted(
    uploads: int, tmp_path: Path, uri: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(storage, "toy", uri)
    folder = tmp_path / "mlartifacts"
    before = files(folder)
    shutil.rmtree(folder)
    upload, left = TrackedRun.upload, iter(range(uploads))

    def upload_some(run: TrackedRun, file: str, content: str) -> None:
        if next(left, None) is None:
            raise KilledError
        upload(run, file, content)

    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "upload", upload_some)
        with pytest.raises(KilledError):
            ship(storage, "toy", uri)
    assert len(files(folder)) == uploads
    ship(storage, "toy", uri)
    assert files(folder) == before


def test_the_artifacts_of_a_server_are_uploaded_again(tmp_path: Path, server: str) -> None:
    desired = sweep(seeds=1, name="lost-artifacts")
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:
        train(storage, config, 0, 3, State.COMPLETED)
    ship(storage, desired.name, server)
    shown = Shown(server, desired.name)
    for run in shown.runs:
        for file in shown.client.list_artifacts(run.info.run_id):
            _delete(shown, run.info.artifact_uri, file.path)
    assert not shown.client.list_artifacts(shown.sweep_run.info.run_id)
    assert ship(storage, desired.name, server).complete
    shown = assert_shows(server, storage, desired)
    for trial_id, run in shown.trials.items():
        assert json.loads(shown.artifact(run, "curvature.json", tmp_path)) == vectors(storage, trial_id)


def _delete(shown: Shown, artifacts: str, file: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(artifacts, tracking_uri=shown.client.tracking_uri).delete_artifacts(file)

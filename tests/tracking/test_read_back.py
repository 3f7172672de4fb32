"""Tables read from a tracker equal those read from the store; incomplete data raises an error."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.store.files.remeasurements import Remeasurement
from orchestrator.store.frames import Frames, read_frames
from orchestrator.store.gallery import Gallery
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.config import MeasurementConfig
from orchestrator.study.sweep import Sweep
from orchestrator.tracking import read_back
from orchestrator.tracking.read_back import TrackerContentError, frames_from_mlflow
from orchestrator.tracking.shipper import ship
from tests.tracking import stored
from tests.tracking.processes import free_port


@pytest.fixture
def desired() -> Sweep:
    return stored.sweep(seeds=2, epochs=3)


@pytest.fixture
def storage(tmp_path: Path, desired: Sweep) -> Storage:
    """A storage with two completed trials, one failed and one pending. One trial was measured again."""
    storage = stored.manifest(tmp_path / "results", desired)
    first, second, third, _ = desired.trials
    stored.train(storage, first, 0, 3, State.COMPLETED)
    stored.train(storage, second, 0, 3, State.DIVERGED)
    stored.train(storage, third, 0, 1, State.FAILED, reason="Traceback\nRuntimeError: out of memory")
    again = replace(stored.record(3), loss_train=None)
    measured = Remeasurement(again, MeasurementConfig(fraction=0.5), "c", stored.DIGEST, stored.PROVENANCE, {})
    storage.trial(first.trial_id).remeasurements.add("fraction-0.5", measured)
    return storage


@pytest.fixture
def database(uri: str, storage: Storage) -> Path:
    ship(storage, "toy", uri)
    return Path(uri.removeprefix("sqlite:///"))


def _assert_equal(ours: Frames, theirs: Frames) -> None:
    for name in ("epochs", "trials", "samples"):
        pd.testing.assert_frame_equal(getattr(ours, name), getattr(theirs, name))
    assert ours.points == theirs.points
    assert ours.sweep == theirs.sweep
    assert ours.provenance == theirs.provenance
    assert ours.gallery == theirs.gallery


def test_tables_from_database_equal_those_of_the_store(storage: Storage, database: Path) -> None:
    _assert_equal(read_frames(storage, "toy"), frames_from_mlflow("toy", f"sqlite:///{database}"))


@pytest.mark.parametrize("fields", [stored.IN_STEPS, {"epochs": 7, "record_every": "3 epochs"}], ids=str)
def test_tables_of_other_records_equal_those_of_the_store(tmp_path: Path, uri: str, fields: dict[str, object]) -> None:
    desired = stored.sweep(seeds=1, **fields)
    storage = stored.manifest(tmp_path / "results", desired)
    first, second = desired.trials
    stored.train(storage, first, 0, 1, State.INTERRUPTED)
    ship(storage, "toy", uri)
    stored.train(storage, first, 2, first.records, State.COMPLETED)
    stored.train(storage, second, 0, 0, State.INTERRUPTED)
    again = replace(stored.record(3), loss_train=None)
    measured = Remeasurement(again, MeasurementConfig(fraction=0.5), "c", stored.DIGEST, stored.PROVENANCE, {})
    storage.trial(first.trial_id).remeasurements.add("fraction-0.5", measured)
    result = ship(storage, "toy", uri)
    assert (result.shipped.records, result.shipped.measurements) == (first.records, 1)
    frames = read_frames(storage, "toy")
    _assert_equal(frames, frames_from_mlflow("toy", uri))
    whole = frames.epochs[frames.epochs.trial_id == first.trial_id]
    if first.cadence.in_steps:
        assert whole.step.tolist() == [0, 8, 16, 24, 32, 40, 48, 50]
        assert whole.epoch.tolist() == [step / stored.BATCHES for step in whole.step]
        assert whole["fraction-0.5/hessian_trace"].first_valid_index() == whole.index[3]
    else:
        assert (whole.epoch.tolist(), whole.epoch.dtype) == ([0, 3, 6, 7], "int64")


def test_tables_from_server_equal_those_of_the_store_or_raise(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = stored.sweep(seeds=2, epochs=3, name="read-back")
    storage = stored.trained(tmp_path / "results", desired)
    ship(storage, "read-back", server)
    monkeypatch.setattr(read_back, "POINTS_PER_REQUEST", 9)  # two runs of four epochs fit into a request, not three
    _assert_equal(read_frames(storage, "read-back"), frames_from_mlflow("read-back", server))
    monkeypatch.setattr(read_back, "POINTS_PER_REQUEST", 4)  # one run may already exceed the limit
    with pytest.raises(TrackerContentError, match="incomplete result: 4 points of .*; export from the store"):
        frames_from_mlflow("read-back", server)


def test_the_gallery_is_read_back(storage: Storage, uri: str) -> None:
    ship(storage, "toy", uri)
    assert frames_from_mlflow("toy", uri).gallery is None
    gallery = Gallery((0.0, 0.25), ("cat",), (2, 1, 1, 2, 2), bytes(range(8)))
    storage.sweep("toy").write_gallery(gallery)
    ship(storage, "toy", uri)
    assert frames_from_mlflow("toy", uri).gallery == gallery


def test_a_missing_epoch_is_an_error(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("delete from metrics where step = 2")
    with pytest.raises(TrackerContentError, match="lacks epoch 2; delete the run, then ship it first"):
        frames_from_mlflow("toy", f"sqlite:///{database}")


def test_two_points_of_one_epoch_are_an_error(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(
            "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "select key, value, timestamp + 1, run_uuid, step, is_nan from metrics where step = 1"
        )
    with pytest.raises(TrackerContentError, match="has two points of .* at epoch 1"):
        frames_from_mlflow("toy", f"sqlite:///{database}")


def test_a_sweep_missing_from_the_tracker_is_an_error(database: Path) -> None:
    with pytest.raises(TrackerContentError, match="has no experiment 'other'; ship it first: hessian-dynamics ship"):
        frames_from_mlflow("other", f"sqlite:///{database}")


def test_a_tracker_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(
        ConnectionError, match=r"tracker http://127.0.0.1:\d+ cannot be read \(.*refused\); start it, or"
    ):
        frames_from_mlflow("toy", f"http://127.0.0.1:{free_port()}")

"""A store shipped to real trackers, and read back."""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.files import StorageError
from orchestrator.store.state import State
from orchestrator.study.record import SCALARS, EpochRecord
from orchestrator.tracking.links import where_to_look
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import Shipping, driving, wait_until
from tests.tracking.stored import (
    DIGEST,
    T0,
    Shown,
    assert_shows,
    attempt,
    expected_points,
    manifest,
    record,
    rows,
    sweep,
    train,
    trained,
    vectors,
)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def say(lines: list[str]) -> Callable[[str], None]:
    return lines.append


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_every_epoch_is_shown_once_with_its_own_time(
    tracker: str, tmp_path: Path, uri: str, say: Callable[[str], None], lines: list[str], request: pytest.FixtureRequest
) -> None:
    desired = sweep(name=f"complete-{tracker}")
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    storage = trained(tmp_path / "results", desired)
    result = ship(storage, desired.name, uri, False, say)
    assert (result.shipped_epochs, result.pending_epochs, result.runs, result.complete) == (16, 0, 5, True)
    shown = assert_shows(uri, storage, desired)
    assert set(shown.statuses().values()) == {"FINISHED"}
    assert set(shown.outcomes().values()) == {"completed"}
    assert shown.sweep_run.info.status == "FINISHED"
    for trial_id, run in shown.trials.items():
        assert json.loads(shown.artifact(run, "curvature.json", tmp_path)) == vectors(storage, trial_id)
        assert run.info.end_time == storage.trial(trial_id).read(3).record.timestamp_ms
    stored = (storage.root / "sweeps" / desired.name / "manifest.json").read_text()
    assert shown.artifact(shown.sweep_run, "manifest.json", tmp_path) == stored
    assert lines == [f"16 epochs shipped to {uri}"]
    link = where_to_look(uri, desired.name)
    assert link is not None
    assert f"/#/experiments/{shown.experiment.experiment_id}/runs?compareRunsMode=CHART" in link


def test_a_run_says_what_the_trial_is_and_what_ran_it(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri, False, say)
    shown = Shown(uri)
    for trial_id, config in desired.by_id.items():
        run = shown.trials[trial_id]
        changeable = {"epochs": "3"}
        assert set(run.data.params) | set(changeable) == set(config.flat())
        assert run.data.params["optimizer.lr"] == str(config.optimizer.lr)
        assert run.data.params["measurement.estimators"] == "lanczos, algorithm1"
        expected = {
            "trial_id": trial_id,
            "sweep": "toy",
            "kind": "trial",
            "outcome": "completed",
            "data_digest": DIGEST,
            "mlflow.source.git.commit": "abc123",
            "mlflow.source.name": "hessian-dynamics run toy",
            "mlflow.source.type": "LOCAL",
            "mlflow.user": "me",
            "host": "cluster",
            "device": "cpu",
            "threads": "2",
            **changeable,
        }
        assert {key: run.data.tags.get(key) for key in expected} == expected
        assert f"hessian-dynamics trial toy {trial_id}" in run.data.tags["mlflow.note.content"]
        assert run.info.run_name == f"optimizer.lr={config.optimizer.lr} seed={config.seed} {trial_id}"
        assert "mlflow.parentRunId" not in run.data.tags
    assert shown.sweep_run.info.run_name == "toy"
    assert shown.sweep_run.data.tags["mlflow.note.content"] == "Curves that nobody trained."
    assert shown.sweep_run.data.tags["host"] == "driver-host"
    assert shown.sweep_run.data.metrics == {}
    assert shown.experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert shown.experiment.tags["mlflow.note.content"] == "Curves that nobody trained."
    assert shown.sweep_run.info.start_time < min(run.info.start_time for run in shown.trials.values())


def test_runs_exist_before_anything_is_trained(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    result = ship(manifest(tmp_path / "results", desired), "toy", uri, False, say)
    shown = Shown(uri)
    assert (result.shipped_epochs, result.runs) == (0, 5)
    assert set(shown.statuses().values()) == {"SCHEDULED"}
    assert shown.trials[desired.trials[0].trial_id].data.tags["host"] == "driver-host"


def test_shipping_twice_changes_nothing(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    train(storage, desired.trials[0], 4, 5)  # another sweep wants more of it
    ship(storage, "toy", uri, False, say)
    before = rows(tmp_path / "mlflow.db")
    assert ship(storage, "toy", uri, False, say).shipped_epochs == 0
    assert rows(tmp_path / "mlflow.db") == before
    assert_shows(uri, storage, desired)


def test_points_that_are_there_already_stay_one_point_each(
    tmp_path: Path, uri: str, say: Callable[[str], None]
) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:
        train(storage, config, 0, 3, State.DIVERGED)  # NaN among them, which equals nothing
    ship(storage, "toy", uri, False, say)
    shown = Shown(uri)
    for run in shown.trials.values():
        shown.client.set_tag(run.info.run_id, "shipped_epoch", "-1")
    assert ship(storage, "toy", uri, False, say).shipped_epochs == 16
    assert_shows(uri, storage, desired)


def test_an_empty_tracker_is_filled_from_the_store(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri, False, say)
    other = f"sqlite:///{tmp_path}/elsewhere/other.db"
    assert ship(storage, "toy", other, False, say).shipped_epochs == 16
    assert_shows(other, storage, desired)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["mlartifacts", "other.db"]


def test_more_trials_and_epochs_go_on_in_the_same_runs(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    ship(trained(tmp_path / "results", desired), "toy", uri, False, say)
    before = Shown(uri)
    more = sweep(seeds=3, epochs=5)
    storage = manifest(tmp_path / "results", more)
    with driving(storage, "toy"):
        for config in more.trials[:2]:
            train(storage, config, 4, 5, State.COMPLETED)
        train(storage, more.trials[2], 0, 1, started_ms=time.time_ns() // 1_000_000)
        ship(storage, "toy", uri, False, say)
        during = assert_shows(uri, storage, more)
        assert during.sweep_run.info.status == "RUNNING"
        assert during.statuses()[more.trials[2].trial_id] == "RUNNING"
        assert during.statuses()[more.trials[5].trial_id] == "SCHEDULED"
    ship(trained(tmp_path / "results", more), "toy", uri, False, say)
    after = assert_shows(uri, storage, more)
    for trial_id, run in before.trials.items():
        again = after.trials[trial_id]
        assert again.info.run_id == run.info.run_id
        assert again.info.end_time == run.info.end_time + 2000
        assert again.data.tags["epochs"] == "5"
        assert [row["epoch"] for row in json.loads(after.artifact(again, "curvature.json", tmp_path))] == list(range(6))
    assert after.sweep_run.info.run_id == before.sweep_run.info.run_id
    assert after.sweep_run.data.tags["trials"] == "6"
    assert set(after.statuses().values()) == {"FINISHED"}


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_a_diverged_trial_is_a_result(
    tracker: str, tmp_path: Path, uri: str, say: Callable[[str], None], request: pytest.FixtureRequest
) -> None:
    desired = sweep(seeds=1, epochs=10, name=f"diverged-{tracker}")
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    storage = trained(tmp_path / "results", desired)
    lost = replace(desired, trials=(*desired.trials, desired.trials[0].model_copy(update={"seed": 9})))
    manifest(storage.root, lost)
    train(storage, lost.trials[2], 0, 4, State.DIVERGED)
    ship(storage, lost.name, uri, False, say)
    shown = assert_shows(uri, storage, lost)
    trial_id = lost.trials[2].trial_id
    assert shown.statuses()[trial_id] == shown.sweep_run.info.status == "FINISHED"
    assert shown.outcomes()[trial_id] == "diverged"
    assert ("loss/train", 4, T0 + 4009, "nan") in shown.points(trial_id)


def test_infinity_is_shown_as_not_a_number(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    storage.trial(desired.trials[0].trial_id).commit(record(0, loss=math.inf), b"", DIGEST, "a")
    ship(storage, "toy", uri, False, say)
    assert ("loss/train", 0, T0, "nan") in Shown(uri).points(desired.trials[0].trial_id)


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_a_failed_trial_shows_its_traceback(
    tracker: str, tmp_path: Path, uri: str, say: Callable[[str], None], request: pytest.FixtureRequest
) -> None:
    desired = sweep(name=f"failed-{tracker}")
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    storage = trained(tmp_path / "results", replace(desired, trials=desired.trials[:3]))
    manifest(storage.root, desired)
    reason = "Traceback (most recent call last):\n  File x\nRuntimeError: CUDA out of memory\n"
    train(storage, desired.trials[3], 0, 1, State.FAILED, reason=reason)
    ship(storage, desired.name, uri, False, say)
    shown = assert_shows(uri, storage, desired)
    run = shown.trials[desired.trials[3].trial_id]
    assert run.info.status == shown.sweep_run.info.status == "FAILED"
    assert run.data.tags["outcome"] == shown.sweep_run.data.tags["outcome"] == "failed"
    assert run.data.tags["failure"] == "RuntimeError: CUDA out of memory"
    assert shown.artifact(run, "traceback.txt", tmp_path) == reason
    assert len(json.loads(shown.artifact(run, "curvature.json", tmp_path))) == 2

    train(storage, desired.trials[3], 2, 3, State.COMPLETED)
    ship(storage, desired.name, uri, False, say)
    mended = assert_shows(uri, storage, desired).trials[desired.trials[3].trial_id]
    assert (mended.info.run_id, mended.info.status, mended.data.tags["outcome"]) == (
        run.info.run_id,
        "FINISHED",
        "completed",
    )
    assert "failure" not in mended.data.tags


def test_a_trial_that_failed_before_its_first_epoch(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    storage.trial(desired.trials[0].trial_id).write_attempt(attempt(ended=State.FAILED, reason="DataError: no images"))
    ship(storage, "toy", uri, False, say)
    shown = assert_shows(uri, storage, desired)
    assert [shown.statuses()[trial_id] for trial_id in desired.by_id] == ["FAILED", "SCHEDULED"]


def test_what_was_interrupted_is_killed_and_what_never_began_is_not(
    tmp_path: Path, uri: str, say: Callable[[str], None]
) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    train(storage, desired.trials[0], 0, 3, State.COMPLETED)
    train(storage, desired.trials[1], 0, 1)  # killed: its attempt never ended
    storage.trial(desired.trials[2].trial_id).write_attempt(attempt())  # killed before epoch 0
    ship(storage, "toy", uri, False, say)
    shown = assert_shows(uri, storage, desired)
    ids = list(desired.by_id)
    assert [shown.statuses()[i] for i in ids] == ["FINISHED", "KILLED", "KILLED", "SCHEDULED"]
    assert [shown.outcomes()[i] for i in ids] == ["completed", "interrupted", "interrupted", None]
    assert shown.sweep_run.info.status == "KILLED"
    assert json.loads(shown.artifact(shown.trials[ids[1]], "curvature.json", tmp_path)) == vectors(storage, ids[1])


def test_a_trial_trained_anew_gets_a_run_of_its_own(
    tmp_path: Path, uri: str, say: Callable[[str], None], lines: list[str]
) -> None:
    desired = sweep()
    ship(trained(tmp_path / "results", desired), "toy", uri, False, say)
    old = Shown(uri)
    shutil.rmtree(tmp_path / "results")
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:  # other code may have given other numbers
        again = EpochRecord(epoch=0, timestamp_ms=T0 + 99_000, loss_train=7.0)
        storage.trial(config.trial_id).commit(again, b"", DIGEST, "later")
    ship(storage, "toy", uri, False, say)
    client, experiment = old.client, old.experiment.experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 2 * len(old.runs)
    new = [run for run in runs if run.info.run_id not in {known.info.run_id for known in old.runs}]
    assert {run.data.tags.get("trial_id") for run in new} == {*desired.by_id, None}
    assert all(run.data.metrics in ({}, {"loss/train": 7.0}) for run in new)
    assert "experiment 'toy' also holds runs of another storage; they stay as they are" in lines
    for trial_id, run in old.trials.items():
        assert client.get_run(run.info.run_id).data.metrics == run.data.metrics, trial_id


def test_a_copied_storage_goes_on_in_the_same_runs(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    ship(trained(tmp_path / "results", desired), "toy", uri, False, say)
    shutil.copytree(tmp_path / "results", tmp_path / "home")
    more = sweep(epochs=4)
    storage = trained(tmp_path / "home", more)
    ship(storage, "toy", uri, False, say)
    assert_shows(uri, storage, more)


def test_of_two_runs_that_a_lost_answer_made_one_stays(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri, False, say)
    shown = Shown(uri)
    twin = next(iter(shown.trials.values()))
    tags = {key: value for key, value in twin.data.tags.items() if key != "shipped_epoch"}
    shown.client.create_run(shown.experiment.experiment_id, tags=tags)
    ship(storage, "toy", uri, False, say)
    assert twin.info.run_id in {run.info.run_id for run in assert_shows(uri, storage, desired).runs}


def test_a_deleted_run_and_a_deleted_experiment_are_shown_again(
    tmp_path: Path, uri: str, say: Callable[[str], None]
) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri, False, say)
    shown = Shown(uri)
    shown.client.delete_run(next(iter(shown.trials.values())).info.run_id)
    ship(storage, "toy", uri, False, say)
    assert_shows(uri, storage, desired)
    shown.client.delete_experiment(shown.experiment.experiment_id)
    ship(storage, "toy", uri, False, say)
    assert {run.data.tags["trial_id"] for run in Shown(uri, "toy").trials.values()} == set(desired.by_id)


def test_a_shipper_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=2, epochs=30)
    storage = trained(tmp_path / "results", desired)
    database = tmp_path / "mlflow.db"

    def some_rows(count: int) -> Callable[[], bool]:
        return lambda: database.exists() and sum(map(len, _rows(database))) > count

    for count in (0, 2, 4, 600, 1500):
        shipper = Shipping(storage, "toy", uri)
        wait_until(some_rows(count))
        shipper.kill()
    Shipping(storage, "toy", uri).said()
    assert_shows(uri, storage, desired)


def _rows(database: Path) -> list[list[object]]:
    import sqlite3

    try:
        with sqlite3.connect(database, timeout=10) as connection:
            return [connection.execute(f"select 1 from {table}").fetchall() for table in ("runs", "metrics")]
    except sqlite3.OperationalError:  # the tables are being made
        return []


def test_a_sweep_the_storage_does_not_know_is_refused(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    storage = manifest(tmp_path / "results", sweep())
    with pytest.raises(StorageError, match="has no sweep 'tyo'; it has: toy"):
        ship(storage, "tyo", uri, False, say)
    with pytest.raises(ValueError, match="no longer writes to"):
        ship(storage, "toy", "./mlruns", False, say)


def test_every_quantity_has_a_key_that_mlflow_takes(tmp_path: Path, uri: str, say: Callable[[str], None]) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    every = EpochRecord.from_json(
        {**record(0).to_json(), **{q.column: 1.5 for q in SCALARS if q.key != "loss/train"}, "time_train_seconds": 2.0}
    )
    storage.trial(desired.trials[0].trial_id).commit(every, b"", DIGEST, "a")
    ship(storage, "toy", uri, False, say)
    points = Shown(uri).points(desired.trials[0].trial_id)
    assert points == expected_points(storage, desired.trials[0])
    assert {key for key, *_ in points} == {quantity.key for quantity in SCALARS}

"""Shipped again: after more was computed, after a kill, to a tracker that lost what it had."""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.store.trial_status import State
from orchestrator.study.record import EpochRecord
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import Shipping, driving, wait_until
from tests.tracking.stored import (
    DIGEST,
    T0,
    Shown,
    assert_shows,
    manifest,
    rows,
    sweep,
    train,
    trained,
)


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
        return lambda: sum(map(len, _rows(database))) > count

    for count in (0, 2, 4, 600, 1500):
        shipper = Shipping(storage, "toy", uri)
        wait_until(some_rows(count))
        shipper.kill()
    Shipping(storage, "toy", uri).said()
    assert_shows(uri, storage, desired)


def _rows(database: Path) -> list[list[object]]:
    try:
        with sqlite3.connect(database, timeout=10) as connection:
            return [connection.execute(f"select 1 from {table}").fetchall() for table in ("runs", "metrics")]
    except sqlite3.OperationalError:  # the shipper is writing
        return []

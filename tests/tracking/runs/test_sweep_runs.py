"""Runs are looked up by tags before any is created."""

import shutil
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from orchestrator.study.record import Record
from orchestrator.tracking.runs import sweep_runs
from orchestrator.tracking.shipper import ship
from tests.tracking.processes import (
    Gate,
    ShipperProcess,
    ShipperThread,
    driving,
    free_port,
    start_server,
    stop_server,
    wait_until,
)
from tests.tracking.stored import (
    DIGEST,
    T0,
    Shown,
    all_shipped,
    assert_shows,
    manifest,
    shown_trials,
    sweep,
    train,
    trained,
)


def test_retrained_trial_gets_a_new_run(tmp_path: Path, uri: str, lines: list[str]) -> None:
    desired = sweep()
    ship(trained(tmp_path / "results", desired), "toy", uri)
    old = Shown(uri)
    shutil.rmtree(tmp_path / "results")
    storage = manifest(tmp_path / "results", desired)
    for config in desired.trials:  # other code may have given other numbers
        again = Record(number=0, timestamp_ms=T0 + 99_000, loss_train=7.0)
        storage.trial(config.trial_id).commit(again, b"", DIGEST, "later")
    ship(storage, "toy", uri)
    client, experiment = old.client, old.experiment.experiment_id
    runs = client.search_runs([experiment])
    assert len(runs) == 2 * len(old.runs)
    new = [run for run in runs if run.info.run_id not in {known.info.run_id for known in old.runs}]
    assert {run.data.tags.get("trial_id") for run in new} == {*desired.by_id, None}
    assert all(run.data.metrics in ({}, {"loss/train": 7.0}) for run in new)
    assert "experiment 'toy' also has runs of another storage; they are not changed" in lines
    for trial_id, run in old.trials.items():
        assert client.get_run(run.info.run_id).data.metrics == run.data.metrics, trial_id


def test_a_copied_storage_continues_in_the_same_runs(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    ship(trained(tmp_path / "results", desired), "toy", uri)
    shutil.copytree(tmp_path / "results", tmp_path / "home")
    more = sweep(epochs=4)
    storage = trained(tmp_path / "home", more)
    ship(storage, "toy", uri)
    assert_shows(uri, storage, more)


def test_a_duplicate_run_is_deleted(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    twin = next(iter(shown.trials.values()))
    tags = {key: value for key, value in twin.data.tags.items() if key != "shipped_epoch"}
    shown.client.create_run(shown.experiment.experiment_id, tags=tags)
    ship(storage, "toy", uri)
    assert twin.info.run_id in {run.info.run_id for run in assert_shows(uri, storage, desired).runs}


def test_deleted_runs_and_experiments_are_restored(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    shown = Shown(uri)
    shown.client.delete_run(next(iter(shown.trials.values())).info.run_id)
    ship(storage, "toy", uri)
    assert_shows(uri, storage, desired)
    shown.client.delete_experiment(shown.experiment.experiment_id)
    ship(storage, "toy", uri)
    assert {run.data.tags["trial_id"] for run in Shown(uri, "toy").trials.values()} == set(desired.by_id)


def test_runs_exist_before_anything_is_trained(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    result = ship(manifest(tmp_path / "results", desired), "toy", uri)
    shown = Shown(uri)
    assert (result.shipped.records, result.runs) == (0, 5)
    assert set(shown.statuses().values()) == {"SCHEDULED"}
    assert shown.trials[desired.trials[0].trial_id].data.tags["host"] == "driver-host"


def _experiments(uri: str) -> object:
    from mlflow import MlflowClient

    try:
        return MlflowClient(uri).search_experiments()
    except Exception as error:
        return error


@pytest.mark.parametrize("how", ["deleted", "emptied", "replaced"])
def test_a_database_lost_while_following_is_filled_again(
    how: str, tmp_path: Path, uri: str, blank_database: Path
) -> None:
    desired = sweep(epochs=5)
    storage = manifest(tmp_path / "results", desired)
    database = tmp_path / "mlflow.db"
    with driving(storage, "toy") as driver:
        for config in desired.trials:
            train(storage, config, 0, 3)
        follower = ShipperProcess(storage, "toy", uri, follow=True)
        wait_until(lambda: len(shown_trials(uri)) == 4 and all_shipped(storage))
        if how == "replaced":
            (tmp_path / "new.db").write_bytes(blank_database.read_bytes())
            (tmp_path / "new.db").replace(database)
        else:
            database.unlink()
        if how == "emptied":
            database.touch()
        wait_until(lambda: any("is back; 16 epochs shipped to it since" in line for line in follower.lines()))
        for config in desired.trials:
            train(storage, config, 4, 5, State.COMPLETED)
        driver.release()
        lines = follower.final_lines()
    assert_shows(uri, storage, desired)
    assert lines[0].startswith(f"tracker {uri} has lost runs of sweep toy (the file of its database was deleted or rep")
    assert "they are created again; training goes on; 0 records wait" in lines[0]
    assert len(lines) == 4, lines


@pytest.mark.slow  # starts a second server
def test_an_empty_replacement_server_is_filled_without_new_epochs(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_runs, "CHECK_SECONDS", 0.5)
    desired, gate, port = sweep(name="moved"), Gate(server), free_port()
    (tmp_path / "other").mkdir()
    other = start_server(tmp_path / "other", port)
    try:
        storage = manifest(tmp_path / "results", desired)
        gate.open()
        with driving(storage, "moved") as driver:
            for config in desired.trials:
                train(storage, config, 0, 3, State.COMPLETED)
            follower = ShipperThread(storage, "moved", gate.uri)
            follower.start()
            wait_until(lambda: all_shipped(storage, "moved"))
            fresh = f"http://127.0.0.1:{port}"
            wait_until(lambda: not isinstance(_experiments(fresh), Exception))
            gate.close()
            gate._target = port
            gate.open()
            wait_until(lambda: len(shown_trials(fresh, "moved")) == 4 and bool(follower.lines))
            wait_until(lambda: any(" is back; " in line for line in follower.lines))
            driver.release()
            assert follower.ended().complete
        assert_shows(fresh, storage, desired)
    finally:
        gate.close()
        stop_server(other)

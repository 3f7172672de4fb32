"""Shipping to real trackers, once and repeatedly."""

import json
import time
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from orchestrator.tracking.client import require_mlflow
from orchestrator.tracking.links import view_urls
from orchestrator.tracking.shipper import ship
from orchestrator.tracking.sync import Amount, SweepSync
from tests.tracking.processes import (
    driving,
    free_port,
)
from tests.tracking.stored import (
    Shown,
    assert_shows,
    manifest,
    rows,
    sweep,
    train,
    trained,
    vectors,
)


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_every_epoch_is_shown_once_with_its_own_time(
    tracker: str, tmp_path: Path, uri: str, lines: list[str], request: pytest.FixtureRequest
) -> None:
    desired = sweep(name=f"complete-{tracker}")
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    storage = trained(tmp_path / "results", desired)
    result = ship(storage, desired.name, uri)
    assert (result.shipped.records, result.pending.records, result.runs, result.complete) == (16, 0, 5, True)
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
    (link,) = view_urls(uri, desired.name).values()
    assert f"/#/experiments/{shown.experiment.experiment_id}/runs?compareRunsMode=CHART" in link


def test_shipping_twice_changes_nothing(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    train(storage, desired.trials[0], 4, 5)  # another sweep has more epochs of this trial
    ship(storage, "toy", uri)
    before = rows(tmp_path / "mlflow.db")
    assert ship(storage, "toy", uri).shipped.records == 0
    assert rows(tmp_path / "mlflow.db") == before
    assert_shows(uri, storage, desired)


def test_an_empty_tracker_is_filled_from_the_store(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = trained(tmp_path / "results", desired)
    ship(storage, "toy", uri)
    other = f"sqlite:///{tmp_path}/elsewhere/other.db"
    assert ship(storage, "toy", other).shipped.records == 16
    assert_shows(other, storage, desired)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["mlartifacts", "other.db"]


def test_more_trials_and_epochs_continue_in_the_same_runs(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    ship(trained(tmp_path / "results", desired), "toy", uri)
    before = Shown(uri)
    more = sweep(seeds=3, epochs=5)
    storage = manifest(tmp_path / "results", more)
    with driving(storage, "toy"):
        for config in more.trials[:2]:
            train(storage, config, 4, 5, State.COMPLETED)
        train(storage, more.trials[2], 0, 1, started_ms=time.time_ns() // 1_000_000)
        ship(storage, "toy", uri)
        during = assert_shows(uri, storage, more)
        assert during.sweep_run.info.status == "RUNNING"
        assert during.statuses()[more.trials[2].trial_id] == "RUNNING"
        assert during.statuses()[more.trials[5].trial_id] == "SCHEDULED"
    ship(trained(tmp_path / "results", more), "toy", uri)
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


def test_shipping_a_sweep_without_epochs_twice_changes_nothing(tmp_path: Path, uri: str) -> None:
    storage = manifest(tmp_path / "results", sweep())
    ship(storage, "toy", uri)
    before = rows(tmp_path / "mlflow.db")
    ship(storage, "toy", uri)
    assert rows(tmp_path / "mlflow.db") == before


def test_only_requested_epochs_are_shipped(tmp_path: Path, uri: str) -> None:
    desired = sweep(epochs=2)
    storage = trained(tmp_path / "results", sweep(epochs=4))
    manifest(storage.root, desired)
    assert ship(storage, "toy", uri).shipped.records == 12
    assert set(assert_shows(uri, storage, desired).statuses().values()) == {"FINISHED"}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(), "0 epochs"),
        (Amount(1), "1 epoch"),
        (Amount(0, 1), "1 measurement from checkpoints"),
        (Amount(16, 2), "16 epochs and 2 measurements from checkpoints"),
    ],
)
def test_amounts_are_readable(amount: Amount, text: str) -> None:
    assert str(amount) == text


def test_a_round_is_idempotent(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = trained(tmp_path / "results", desired)
    sync = SweepSync(storage, "toy", uri, follow=False)
    assert (sync.sync_once().created_runs, sync.shipped, sync.pending()) == (True, Amount(8), Amount())
    before = rows(tmp_path / "mlflow.db")
    sync.reset()
    assert (sync.sync_once().created_runs, sync.shipped) == (False, Amount(8))
    assert rows(tmp_path / "mlflow.db") == before


def test_a_failed_round_is_an_outcome(tmp_path: Path) -> None:
    storage = trained(tmp_path / "results", sweep(seeds=1))
    require_mlflow()
    outcome = SweepSync(storage, "toy", f"http://127.0.0.1:{free_port()}", follow=False).sync_once()
    assert "cannot be reached ([Errno 111] Connection refused)" in outcome.failure
    assert not outcome.unanswered, "a refused connection reached no server"

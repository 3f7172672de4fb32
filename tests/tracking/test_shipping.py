"""A store shipped to real trackers for the first time, and read back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store.errors import StorageError
from orchestrator.study.record import SCALARS, EpochRecord
from orchestrator.tracking.links import where_to_look
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import (
    DIGEST,
    Shown,
    assert_shows,
    expected_points,
    manifest,
    record,
    sweep,
    trained,
    vectors,
)


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
        assert run.info.run_name == f"lr={config.optimizer.lr} seed={config.seed} {trial_id}"
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

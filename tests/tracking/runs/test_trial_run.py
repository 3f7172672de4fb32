"""How runs end: completed, diverged, failed, interrupted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.trial_status import State
from orchestrator.tracking.shipper import ship
from tests.tracking.stored import (
    T0,
    assert_shows,
    attempt,
    manifest,
    sweep,
    train,
    trained,
    vectors,
)


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_a_diverged_trial_is_a_result(tracker: str, tmp_path: Path, uri: str, request: pytest.FixtureRequest) -> None:
    desired = sweep(seeds=1, epochs=10, name=f"diverged-{tracker}")
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    storage = trained(tmp_path / "results", desired)
    lost = replace(desired, trials=(*desired.trials, desired.trials[0].model_copy(update={"seed": 9})))
    manifest(storage.root, lost)
    train(storage, lost.trials[2], 0, 4, State.DIVERGED)
    ship(storage, lost.name, uri)
    shown = assert_shows(uri, storage, lost)
    trial_id = lost.trials[2].trial_id
    assert shown.statuses()[trial_id] == shown.sweep_run.info.status == "FINISHED"
    assert shown.outcomes()[trial_id] == "diverged"
    assert ("loss/train", 4, T0 + 4009, "nan") in shown.points(trial_id)


@pytest.mark.parametrize("tracker", ["sqlite", "server"])
def test_a_failed_trial_shows_its_traceback(
    tracker: str, tmp_path: Path, uri: str, request: pytest.FixtureRequest
) -> None:
    desired = sweep(name=f"failed-{tracker}")
    uri = uri if tracker == "sqlite" else request.getfixturevalue("server")
    storage = trained(tmp_path / "results", replace(desired, trials=desired.trials[:3]))
    manifest(storage.root, desired)
    reason = "Traceback (most recent call last):\n  File x\nRuntimeError: CUDA out of memory\n"
    train(storage, desired.trials[3], 0, 1, State.FAILED, reason=reason)
    ship(storage, desired.name, uri)
    shown = assert_shows(uri, storage, desired)
    run = shown.trials[desired.trials[3].trial_id]
    assert run.info.status == shown.sweep_run.info.status == "FAILED"
    assert run.data.tags["outcome"] == shown.sweep_run.data.tags["outcome"] == "failed"
    assert run.data.tags["failure"] == "RuntimeError: CUDA out of memory"
    assert shown.artifact(run, "traceback.txt", tmp_path) == reason
    assert len(json.loads(shown.artifact(run, "curvature.json", tmp_path))) == 2

    train(storage, desired.trials[3], 2, 3, State.COMPLETED)
    ship(storage, desired.name, uri)
    repaired = assert_shows(uri, storage, desired).trials[desired.trials[3].trial_id]
    assert (repaired.info.run_id, repaired.info.status, repaired.data.tags["outcome"]) == (
        run.info.run_id,
        "FINISHED",
        "completed",
    )
    assert "failure" not in repaired.data.tags


def test_a_trial_that_failed_before_its_first_epoch(tmp_path: Path, uri: str) -> None:
    desired = sweep(seeds=1)
    storage = manifest(tmp_path / "results", desired)
    storage.trial(desired.trials[0].trial_id).write_attempt(attempt(ended=State.FAILED, reason="DataError: no images"))
    ship(storage, "toy", uri)
    shown = assert_shows(uri, storage, desired)
    assert [shown.statuses()[trial_id] for trial_id in desired.by_id] == ["FAILED", "SCHEDULED"]


def test_interrupted_trials_are_killed_and_pending_ones_scheduled(tmp_path: Path, uri: str) -> None:
    desired = sweep()
    storage = manifest(tmp_path / "results", desired)
    train(storage, desired.trials[0], 0, 3, State.COMPLETED)
    train(storage, desired.trials[1], 0, 1)  # killed
    storage.trial(desired.trials[2].trial_id).write_attempt(attempt())  # killed before epoch 0
    ship(storage, "toy", uri)
    shown = assert_shows(uri, storage, desired)
    ids = list(desired.by_id)
    assert [shown.statuses()[i] for i in ids] == ["FINISHED", "KILLED", "KILLED", "SCHEDULED"]
    assert [shown.outcomes()[i] for i in ids] == ["completed", "interrupted", "interrupted", None]
    assert shown.sweep_run.info.status == "KILLED"
    assert json.loads(shown.artifact(shown.trials[ids[1]], "curvature.json", tmp_path)) == vectors(storage, ids[1])

"""Comparison of a sweep with the storage."""

import shutil
from pathlib import Path

from orchestrator.scheduling.plan import reconcile
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(5))
SWEEP = Sweep("five", "", TRIALS, Resources())


def test_complete_trials_are_not_read_again(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, partly, *_ = (storage.trial(trial.trial_id) for trial in TRIALS)
    commit_epochs(done, range(5))
    commit_epochs(partly, range(2))
    before = reconcile(SWEEP, storage)
    shutil.rmtree(tmp_path / "trials" / done.trial_id)
    commit_epochs(partly, range(2, 5))
    states = [status.state.value for status in reconcile(SWEEP, storage, before).statuses.values()]
    assert states[:2] == ["completed", "completed"]
    assert reconcile(SWEEP, storage).statuses[done.trial_id].state.value == "pending"


def test_the_plan_derives_states_and_missing_records(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, partly, diverged, failed, _ = (storage.trial(trial.trial_id) for trial in TRIALS)
    commit_epochs(done, range(5))
    commit_epochs(partly, range(2))
    commit_epochs(diverged, range(3), last_loss=float("nan"))
    failed.write_attempt(attempt("1", ended="failed", reason="Traceback\n  ...\nValueError: boom\n"))
    plan = reconcile(SWEEP, storage)
    states = [status.state.value for status in plan.statuses.values()]
    assert states == ["completed", "interrupted", "diverged", "failed", "pending"]
    assert plan.todo == [TRIALS[number].trial_id for number in (1, 3, 4)]
    assert plan.missing_records == 3 + 5 + 5
    assert plan.summary == "five: 2 of 5 trials done (1 diverged), 1 failed, 13 epochs missing"


def test_an_open_attempt_counts_as_running_only_under_its_driver(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.sweep("five").write_manifest(SWEEP, capture())
    storage.trial(TRIALS[0].trial_id).write_attempt(attempt("1"))
    assert reconcile(SWEEP, storage).statuses[TRIALS[0].trial_id].state == "pending"
    with storage.sweep("five").driver_lease:
        assert reconcile(SWEEP, storage).statuses[TRIALS[0].trial_id].state == "pending"
        storage.trial(TRIALS[1].trial_id).write_attempt(attempt("2"))
        assert reconcile(SWEEP, storage).statuses[TRIALS[1].trial_id].state == "running"

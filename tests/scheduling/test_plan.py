"""Comparison of a sweep with the storage."""

import io
import shutil
from pathlib import Path

from rich.console import Console

from orchestrator.scheduling.plan import reconcile
from orchestrator.scheduling.progress import Pace, describe, duration
from orchestrator.scheduling.show import MOST_FRAMED, failures, table
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


def test_a_table_of_many_trials_has_no_frames(tmp_path: Path) -> None:
    trials = tuple(small_trial(seed=seed, epochs=4) for seed in range(MOST_FRAMED + 1))
    output = io.StringIO()
    plan = reconcile(Sweep("many", "", trials, Resources()), Storage(tmp_path))
    Console(file=output, width=30).print(table(plan), crop=False)
    title, header, *lines = output.getvalue().splitlines()
    assert title == f"many: {MOST_FRAMED + 1} trials"
    assert header.split() == ["trial", "what", "state", "epoch"]
    assert [line.split() for line in lines] == [[t.trial_id, f"seed={t.seed}", "pending", "0/4"] for t in trials]


def test_summary_table_and_failures_of_a_plan(tmp_path: Path) -> None:
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
    assert plan.missing_epochs == 3 + 5 + 5
    assert plan.summary == "five: 2 of 5 trials done (1 diverged), 1 failed, 13 epochs missing"
    assert table(plan).row_count == 5
    assert failures(plan) == [
        f"failed: {TRIALS[3].trial_id} (seed=3): ValueError: boom",
        f"to reproduce: hessian-dynamics trial five {TRIALS[3].trial_id}",
    ]
    assert describe(plan, Pace(1350.4, 242.0)) == (
        "5 trials: 2 done (1 diverged), 0 running, 1 failed, 2 waiting | 12 of 25 epochs, 1,350 an hour, 4m 02s left"
    )


def test_an_open_attempt_counts_as_running_only_under_its_driver(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.sweep("five").write_manifest(SWEEP, capture())
    storage.trial(TRIALS[0].trial_id).write_attempt(attempt("1"))
    assert reconcile(SWEEP, storage).statuses[TRIALS[0].trial_id].state == "pending"
    with storage.sweep("five").driver_lease:
        assert reconcile(SWEEP, storage).statuses[TRIALS[0].trial_id].state == "pending"
        storage.trial(TRIALS[1].trial_id).write_attempt(attempt("2"))
        assert reconcile(SWEEP, storage).statuses[TRIALS[1].trial_id].state == "running"


def test_durations_are_formatted() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 242, 11220)] == ["0s", "1m 00s", "4m 02s", "3h 07m"]

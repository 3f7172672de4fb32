"""Desired minus stored."""

from pathlib import Path

from orchestrator.scheduling.progress import Pace, describe, duration
from orchestrator.scheduling.reconcile import reconcile
from orchestrator.scheduling.show import failures, table
from orchestrator.store.layout import Storage
from orchestrator.store.provenance import capture
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(5))
SWEEP = Sweep("five", "", TRIALS, Resources())


def test_states_epochs_and_what_is_left(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, partly, diverged, failed, _ = (storage.trial(trial.trial_id) for trial in TRIALS)
    commit_epochs(done, range(5))
    commit_epochs(partly, range(2))
    commit_epochs(diverged, range(3), last_loss=float("nan"))
    failed.write_attempt(attempt("1", ended="failed", reason="Traceback\n  ...\nValueError: boom\n"))
    plan = reconcile(SWEEP, storage)
    states = [standing.state.value for standing in plan.standings.values()]
    assert states == ["completed", "interrupted", "diverged", "failed", "pending"]
    assert plan.todo == [TRIALS[number].trial_id for number in (1, 3, 4)]
    assert plan.missing_epochs == 3 + 5 + 5
    assert plan.summary == "five: 2 of 5 trials done (1 diverged), 1 failed, 13 epochs missing"
    assert table(plan).row_count == 5
    assert failures(plan) == [
        f"failed: {TRIALS[3].trial_id} (seed=3): ValueError: boom",
        f"to see it happen: hessian-dynamics trial five {TRIALS[3].trial_id}",
    ]
    assert describe(plan, Pace(1350.4, 242.0)) == (
        "5 trials: 2 done (1 diverged), 0 running, 1 failed, 2 waiting | 12 of 25 epochs, 1,350 an hour, 4m 02s left"
    )


def test_an_open_attempt_runs_only_under_the_driver_that_began_it(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    storage.sweep("five").write_manifest(SWEEP, capture())
    storage.trial(TRIALS[0].trial_id).write_attempt(attempt("1"))
    assert reconcile(SWEEP, storage).standings[TRIALS[0].trial_id].state == "pending"
    with storage.sweep("five").driver_lease:
        assert reconcile(SWEEP, storage).standings[TRIALS[0].trial_id].state == "pending"
        storage.trial(TRIALS[1].trial_id).write_attempt(attempt("2"))
        assert reconcile(SWEEP, storage).standings[TRIALS[1].trial_id].state == "running"


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 242, 11220)] == ["0s", "1m 00s", "4m 02s", "3h 07m"]

"""The job of a trial: its progress, and how a failed attempt is stored."""

from pathlib import Path

import pytest

from orchestrator.scheduling.job import TrainingJob, TrialSnapshot
from orchestrator.scheduling.retry import FailureKind
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State
from orchestrator.study.sweep import Resources
from tests.scheduling.stored import attempt, commit_epochs

TRIAL = "0123456789"


@pytest.fixture
def trial(tmp_path: Path) -> TrialStore:
    return Storage(tmp_path).trial(TRIAL)


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return TrainingJob(str(tmp_path), "night")


def test_a_snapshot_has_the_epochs_and_the_last_attempt(job: TrainingJob, trial: TrialStore) -> None:
    assert job.snapshot(TRIAL) == TrialSnapshot()
    trial.write_attempt(attempt("one"))
    trial.write_attempt(attempt("two"))
    commit_epochs(trial, range(3))
    assert job.snapshot(TRIAL) == TrialSnapshot(3, "two")


@pytest.mark.parametrize(("failed", "ended"), [(True, State.FAILED), (False, State.INTERRUPTED)])
def test_the_end_of_an_attempt_is_stored_with_its_reason(
    job: TrainingJob, trial: TrialStore, failed: bool, ended: State
) -> None:
    before = job.snapshot(TRIAL)
    trial.write_attempt(attempt("one"))
    job.conclude(TRIAL, before, "Traceback\nValueError: no\n", "it failed three times", failed)
    (stored,) = trial.attempts()
    assert (stored.ended, stored.reason) == (ended, "Traceback\nValueError: no\nit failed three times")


def test_a_worker_that_died_before_its_attempt_was_stored_has_one_if_the_trial_failed(
    job: TrainingJob, trial: TrialStore
) -> None:
    trial.write_attempt(attempt("0-first", ended="interrupted"))
    before = job.snapshot(TRIAL)
    job.conclude(TRIAL, before, "killed by signal 9", "", failed=False)
    assert [stored.name for stored in trial.attempts()] == ["0-first"]
    job.conclude(TRIAL, before, "killed by signal 9", "", failed=True)
    last = trial.attempts()[-1]
    assert (last.ended, last.reason, last.environment) == (State.FAILED, "killed by signal 9", {"threads": 1})
    assert last.name.endswith("-driver")


def test_an_exception_is_returned_as_a_failure(job: TrainingJob) -> None:
    failure = job.run(TRIAL, "node-1")  # the sweep has no manifest
    assert failure is not None
    assert failure.kind is not FailureKind.UNFIT
    assert failure.node == "node-1"


def test_resources_replace_those_of_the_sweep(job: TrainingJob) -> None:
    resources = Resources(cpu=2, gpu=0.5)
    assert job.with_resources(resources).resources == resources
    assert job.resources is None

"""The status of a trial, derived from its commits and the outcome of its last attempt."""

import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State, trial_status
from tests.store.stored import attempt, checkpoint, config, record


def commit(trial: TrialStore, *epochs: int, loss: float = 0.5) -> None:
    for epoch in epochs:
        assert trial.commit(record(epoch, loss), checkpoint(epoch), "d", "1000-abc")


def test_a_trial_without_files_is_pending(trial: TrialStore) -> None:
    stands = trial_status(trial, config())
    assert (stands.state, stands.number, stands.records, stands.attempt) == (State.PENDING, -1, 10, None)
    assert stands.missing_records == 11, "epoch 0 is one of them"


@pytest.mark.parametrize(
    ("started_ms", "ended", "driver_since", "state"),
    [
        (5000, None, 4.0, State.RUNNING),
        (5000, None, 6.0, State.INTERRUPTED),  # begun before the current driver, so it was killed
        (5000, None, None, State.INTERRUPTED),
        (5000, "interrupted", 4.0, State.INTERRUPTED),
        (5000, "failed", None, State.FAILED),
        (5000, "failed", 4.0, State.FAILED),
    ],
)
def test_state_of_an_unfinished_trial(
    trial: TrialStore, started_ms: int, ended: str | None, driver_since: float | None, state: State
) -> None:
    commit(trial, 0, 1, 2)
    trial.write_attempt(attempt("1000-abc", 1000, ended="failed"))
    last = attempt("5000-abc", started_ms, ended=ended)
    trial.write_attempt(last)
    stands = trial_status(trial, config(), driver_since)
    assert (stands.state, stands.number, stands.missing_records, stands.attempt) == (state, 2, 8, last)
    assert not stands.state.final


def test_an_attempt_that_was_killed_before_epoch_0_leaves_the_trial_pending(trial: TrialStore) -> None:
    trial.write_attempt(attempt())
    assert trial_status(trial, config()).state == State.PENDING
    assert trial_status(trial, config(), driver_since=0.5).state == State.RUNNING


def test_trial_with_all_epochs_is_completed_even_if_its_attempt_failed(trial: TrialStore) -> None:
    commit(trial, *range(11))
    trial.write_attempt(attempt(ended="failed"))
    stands = trial_status(trial, config(), driver_since=0.5)
    assert (stands.state, stands.number, stands.missing_records) == (State.COMPLETED, 10, 0)
    assert stands.state.final


def test_the_state_depends_on_the_requested_epochs(trial: TrialStore) -> None:
    commit(trial, *range(6))
    states: list[Any] = [trial_status(trial, config(epochs=epochs)) for epochs in (3, 5, 8)]
    assert [(s.state, s.number, s.missing_records) for s in states] == [
        (State.COMPLETED, 3, 0),
        (State.COMPLETED, 5, 0),
        (State.INTERRUPTED, 5, 3),
    ]


def test_a_diverged_trial_is_final(trial: TrialStore) -> None:
    commit(trial, 0, 1)
    commit(trial, 2, loss=math.nan)
    stands = trial_status(trial, config())
    assert (stands.state, stands.number, stands.missing_records) == (State.DIVERGED, 2, 0)
    assert trial_status(trial, config(epochs=1)).state == State.COMPLETED, "the diverged epoch was not requested"


def path_of(trial: TrialStore, epoch: int) -> Path:
    return Path(str(trial._files.root)) / "trials" / trial.trial_id / "epochs" / f"{epoch:05d}.json"


def test_an_epoch_that_was_deleted_is_missing(trial: TrialStore) -> None:
    commit(trial, *range(11))
    path_of(trial, 4).unlink()
    stands = trial_status(trial, config())
    assert (stands.state, stands.missing_records) == (State.INTERRUPTED, 1)


@pytest.mark.parametrize("loss", [0.5, math.nan])
def test_a_damaged_last_epoch_is_missing(trial: TrialStore, loss: float) -> None:
    commit(trial, *range(10))
    commit(trial, 10, loss=loss)
    path_of(trial, 10).write_bytes(b"{")
    stands = trial_status(trial, config())
    assert (stands.state, stands.number, stands.missing_records) == (State.INTERRUPTED, 9, 1)


def test_a_diverged_trial_with_a_gap_is_not_final(trial: TrialStore) -> None:
    commit(trial, 0, 1)
    commit(trial, 2, loss=math.nan)
    assert trial_status(trial, config()).state is State.DIVERGED
    path_of(trial, 1).unlink()
    assert trial_status(trial, config()).state is State.INTERRUPTED

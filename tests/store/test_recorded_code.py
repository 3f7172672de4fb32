"""The user's code behind the stored epochs of a trial."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.store.attempt import Attempt
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.recorded_code import changed_code, record_code, recorded_code
from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.record import Record


@pytest.fixture
def trial(tmp_path: Path) -> TrialStore:
    return Storage(tmp_path).trial("0" * 12)


def attempt(trial: TrialStore, name: str, code: dict[str, bytes], epoch: int | None, claim: int = 0) -> None:
    """Stores an attempt, and an epoch that it committed."""
    trial.write_attempt(Attempt(name, 1000, 0, capture(code), {"threads": 1}, "completed", claim=claim))
    if epoch is not None:
        assert trial.commit(Record(number=epoch, timestamp_ms=1), b"state", "data", name)


def test_the_code_of_a_trial_is_that_of_the_attempt_behind_its_last_epoch(trial: TrialStore) -> None:
    assert recorded_code(trial) == {}
    attempt(trial, "1-a", {"nets": b"1"}, 0)
    attempt(trial, "2-b", {"nets": b"2"}, 1)
    attempt(trial, "3-c", {"nets": b"3"}, None)
    assert recorded_code(trial) == capture({"nets": b"2"}).own_code


def test_modules_that_were_not_recorded_are_not_changed() -> None:
    assert changed_code({"a": "1"}, {"a": "1", "b": "2"}) == {}
    assert changed_code({"a": "1", "b": "2"}, {"a": "3"}) == {"a": "1", "b": "2"}


def test_recording_code_keeps_everything_else_that_is_known_of_the_trial(trial: TrialStore) -> None:
    attempt(trial, "1-a", {}, 0, claim=4)
    (before,) = trial.attempts()
    made = capture({"nets": b"2"}, "hessian-dynamics run x", {"nets": "1" * 64})
    record_code(trial, replace(made, commit="other", host="other"))
    _, after = trial.attempts()
    assert recorded_code(trial) == made.own_code
    assert after.reason == "accepted changed code, nothing was computed: hessian-dynamics run x"
    assert (after.ended, after.environment, after.claim) == (before.ended, before.environment, before.claim)
    code = {"own_code": made.own_code, "accepted_code": {"nets": "1" * 64}}
    assert after.provenance == replace(before.provenance, **code)


def test_nothing_is_recorded_for_a_trial_without_attempts(trial: TrialStore) -> None:
    record_code(trial, capture({"nets": b"2"}))
    assert trial.attempts() == []

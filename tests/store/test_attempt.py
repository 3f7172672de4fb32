"""The stored attempts of a trial: their order, their end, and damaged files."""

import json

from orchestrator.store.attempt import Attempt
from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.trial import TrialStore
from tests.store.stored import PROVENANCE, attempt


def test_attempts_are_listed_oldest_first(trial: TrialStore) -> None:
    late, early = attempt("2000-aaa", 2000, first_record=3), attempt("1000-bbb", 1000)
    trial.write_attempt(late)
    trial.write_attempt(early)
    assert trial.attempts() == [early, late]
    assert trial.attempts()[0].provenance == PROVENANCE


def test_storing_the_end_of_an_attempt_replaces_its_file(trial: TrialStore) -> None:
    trial.write_attempt(attempt())
    assert trial.attempts()[0].ended is None
    ended = attempt(ended="failed", reason="Traceback: 'ö'\n")
    trial.write_attempt(ended)
    assert trial.attempts() == [ended]


def test_attempts_are_ordered_by_claim_and_not_by_clock(trial: TrialStore) -> None:
    fast, slow = attempt("9000-aaa", 9000, claim=1), attempt("1000-bbb", 1000, claim=2)
    for each in (slow, fast):
        trial.write_attempt(each)
    assert trial.attempts() == [fast, slow]


def test_a_damaged_attempt_is_ignored(files: DiskFiles, trial: TrialStore) -> None:
    trial.write_attempt(attempt())
    for number, content in enumerate((b"", b"{", b"[]", b"{}", b'{"provenance": 3}')):
        files.write(f"trials/{trial.trial_id}/attempts/{number}.json", content)
    assert trial.attempts() == [attempt()]


def test_the_key_of_the_first_record_in_files_is_that_of_earlier_versions() -> None:
    begun = attempt("1000-bbb", 1000, first_record=3)
    content = json.loads(begun.to_bytes())
    assert content["first_epoch"] == 3
    assert "first_record" not in content
    assert Attempt.from_bytes(begun.to_bytes()) == begun

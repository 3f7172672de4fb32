"""Commits beside training: their order, errors and lost races."""

import threading
from collections.abc import Callable

import pytest

from orchestrator.store.background_commits import FREQUENT_SECONDS, BackgroundCommits
from orchestrator.store.errors import StorageError
from orchestrator.study.record import Record


def record(number: int, seconds: float = 0.0) -> Record:
    return Record(number, 5, time_train_seconds=seconds)


def commits(commit: Callable[[Record, bytes], bool], seen: list[int], known: set[int]) -> BackgroundCommits:
    return BackgroundCommits(commit, known, lambda record: seen.append(record.number))


def test_a_frequent_record_is_committed_while_training_goes_on() -> None:
    release, seen = threading.Event(), list[int]()

    def commit(record: Record, checkpoint: bytes) -> bool:
        return release.wait(10)

    with commits(commit, seen, set()) as pending:
        assert pending.add(record(0), b"")
        assert seen == []
        release.set()
        assert pending.add(record(1), b"")
        assert seen == [0]
        assert pending.finish()
        assert pending.finish()
    assert seen == [0, 1]


def test_training_waits_for_a_rare_record() -> None:
    seen: list[int] = []
    with commits(lambda record, checkpoint: True, seen, set()) as pending:
        assert pending.add(record(0, FREQUENT_SECONDS + 1), b"")
        assert seen == [0]


def test_a_record_of_another_process_ends_training_from_this_state() -> None:
    seen: list[int] = []
    with commits(lambda record, checkpoint: record.number != 1, seen, set()) as pending:
        assert pending.add(record(0), b"")
        assert pending.add(record(1), b"")
        assert not pending.add(record(2), b"")
    assert seen == [0]


def test_a_record_that_is_computed_again_may_exist() -> None:
    seen: list[int] = []
    with commits(lambda record, checkpoint: record.number != 1, seen, {0, 1}) as pending:
        assert all(pending.add(record(number), b"") for number in range(3))
        assert pending.finish()
    assert seen == [0, 1, 2]


def test_an_error_is_raised_by_the_next_call() -> None:
    def commit(record: Record, checkpoint: bytes) -> bool:
        raise StorageError("the disk is full")

    with commits(commit, [], set()) as pending:
        assert pending.add(record(0), b"")
        with pytest.raises(StorageError, match="the disk is full"):
            pending.add(record(1), b"")
    with commits(commit, [], set()) as pending, pytest.raises(StorageError, match="the disk is full"):
        pending.add(record(0, FREQUENT_SECONDS + 1), b"")


def test_leaving_waits_for_the_pending_commit() -> None:
    done = []
    with commits(lambda record, checkpoint: not done.append(record.number), [], set()) as pending:
        pending.add(record(0), b"")
    assert done == [0]

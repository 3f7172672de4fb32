"""The choice of the next trial, and the conditions under which the whole run stops."""

import pytest

from orchestrator.scheduling.attempts import Attempts, PlannedAttempt
from orchestrator.scheduling.job import TrialSnapshot
from orchestrator.scheduling.retry import Failure, FailureKind
from tests.scheduling.desk import Desk

BUG = Failure(
    FailureKind.ERROR, "Traceback\n  line\nZeroDivisionError: division by zero", "ZeroDivisionError at a.py:1"
)
OTHER = Failure(FailureKind.ERROR, "Traceback\nKeyError: 'x'", "KeyError at a.py:2")
NO_MEMORY = Failure(FailureKind.OUT_OF_MEMORY, "Traceback\nMemoryError: too much", "MemoryError")
ROOM = Failure(FailureKind.NO_ROOM, "StorageError: storage cannot be written (No space left on device)", "full")


def lost(node: str = "") -> Failure:
    return Failure(FailureKind.LOST, "its process died (killed by SIGKILL)", "killed", node)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("orchestrator.scheduling.attempts.time.monotonic", lambda: now[0])
    return now


def begin(attempts: Attempts) -> PlannedAttempt:
    turn = attempts.next()
    assert turn is not None
    return turn


def test_trials_begin_in_order(desk: Desk) -> None:
    attempts = desk.attempts("a", "b")
    assert [begin(attempts), begin(attempts)] == [PlannedAttempt("a"), PlannedAttempt("b")]
    assert attempts.next() is None
    assert not attempts.finished
    attempts.ended("a", None)
    attempts.ended("b", None)
    assert attempts.finished
    assert desk.said == []


def test_a_bug_fails_its_trial_and_others_continue(desk: Desk) -> None:
    attempts = desk.attempts("a", "b")
    begin(attempts)
    attempts.ended("a", BUG)
    assert desk.noted == [("a", "ZeroDivisionError: division by zero", True)]
    assert begin(attempts) == PlannedAttempt("b")
    assert desk.said == ["trial a: ZeroDivisionError: division by zero; failed"]


def test_a_lost_trial_is_retried_with_growing_pauses(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a")
    for pause in (0.5, 1.0, 2.0):  # half of 1, 2, 4
        begin(attempts)
        attempts.ended("a", lost())
        assert attempts.next() is None
        clock[0] += pause
    begin(attempts)
    attempts.ended("a", lost())
    assert attempts.finished
    line = "its process died (killed by SIGKILL), 4 times without a new record"
    assert desk.noted[-1] == ("a", line, True)
    assert [failed for _, _, failed in desk.noted] == [False, False, False, True]


def test_a_committed_epoch_resets_the_failure_counts(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a")
    for epoch in range(20):
        begin(attempts)
        desk.epochs["a"] = epoch + 1
        attempts.ended("a", lost())
        clock[0] += 1.0
    assert not attempts.finished
    assert not any(failed for _, _, failed in desk.noted)


def test_out_of_memory_is_retried_once_alone_after_the_others(desk: Desk) -> None:
    attempts = desk.attempts("a", "b", "c")
    begin(attempts), begin(attempts)
    attempts.ended("a", NO_MEMORY)
    assert begin(attempts) == PlannedAttempt("c")
    attempts.ended("c", None)
    assert attempts.next() is None  # b is still running
    attempts.ended("b", None)
    assert begin(attempts) == PlannedAttempt("a", alone=True)
    attempts.ended("a", NO_MEMORY)
    assert attempts.finished
    assert desk.noted[-1][2]
    assert "it was alone on the machine: a smaller batch_size" in desk.noted[-1][1]


def test_two_trials_that_must_be_alone_do_not_run_together(desk: Desk) -> None:
    attempts = desk.attempts("a", "b")
    begin(attempts), begin(attempts)
    attempts.ended("a", NO_MEMORY)
    attempts.ended("b", NO_MEMORY)
    assert begin(attempts).alone
    assert attempts.next() is None
    assert attempts.next(engine_keeps_alone=True) == PlannedAttempt("b", alone=True)  # each on a separate GPU


def test_a_trial_lost_while_alone_is_retried_alone(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a")
    begin(attempts)
    attempts.ended("a", NO_MEMORY)
    begin(attempts)
    attempts.ended("a", lost())
    clock[0] += 10
    assert begin(attempts).alone


def test_the_same_error_in_the_first_three_trials_stops_the_run(desk: Desk) -> None:
    attempts = desk.attempts(*"abcdef")
    for trial in "abcd":
        assert begin(attempts).trial_id == trial
    for trial in "abc":
        assert not desk.stopped.is_set()
        attempts.ended(trial, BUG)
    assert desk.stopped.is_set()
    assert attempts.finished
    assert attempts.next() is None
    assert desk.said[-2] == BUG.reason
    assert desk.said[-1].startswith(
        "the first 3 trials all failed with this error, so the others would fail too: stopping"
    )
    attempts.ended("d", BUG)
    assert sum("the first 3" in line for line in desk.said) == 1


@pytest.mark.parametrize("ends", [[BUG, None, BUG, BUG, BUG], [BUG, OTHER, BUG, BUG, BUG], [None, BUG, BUG, BUG]])
def test_different_outcomes_of_the_first_three_trials_do_not_stop_the_run(
    desk: Desk, ends: list[Failure | None]
) -> None:
    attempts = desk.attempts(*"abcdef")
    for trial, failure in zip("abcdef", ends, strict=False):
        begin(attempts)
        attempts.ended(trial, failure)
    assert not desk.stopped.is_set()
    assert attempts.next() is not None


def test_a_full_storage_stops_the_run_without_failing_trials(desk: Desk) -> None:
    attempts = desk.attempts("a", "b")
    begin(attempts)
    attempts.ended("a", ROOM)
    assert attempts.finished and desk.stopped.is_set()
    assert not desk.noted[-1][2]
    assert "No space left on device" in desk.said[-1]


def test_no_attempt_begins_after_a_stop_request(desk: Desk) -> None:
    attempts = desk.attempts("a", "b")
    begin(attempts)
    desk.stopped.set()
    assert attempts.next() is None
    assert attempts.wait() is None


def test_a_trial_avoids_the_node_where_it_died(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a", "b")
    begin(attempts)
    attempts.ended("a", lost("n1"))
    assert begin(attempts) == PlannedAttempt("b")  # one death is not enough to avoid a node
    clock[0] += 10
    assert begin(attempts) == PlannedAttempt("a", avoid=frozenset({"n1"}))


def test_all_trials_avoid_a_node_where_two_trials_died(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a", "b", "c")
    begin(attempts), begin(attempts)
    attempts.ended("a", lost("n1"))
    attempts.ended("b", lost("n1"))
    assert begin(attempts) == PlannedAttempt("c", avoid=frozenset({"n1"}))


def test_a_committed_epoch_on_a_node_clears_its_deaths(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a", "b", "c", "d")
    for _ in range(3):
        begin(attempts)
    attempts.ended("a", lost("n1"))
    desk.epochs["b"] = 1
    attempts.ended("b", lost("n1"))
    attempts.ended("c", lost("n2"))
    assert begin(attempts) == PlannedAttempt("d")


def test_the_death_of_the_engine_counts_as_a_loss_of_all_running_attempts(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a", "b", "c")
    begin(attempts), begin(attempts)
    attempts.lost(lost())
    clock[0] += 10
    assert [begin(attempts).trial_id for _ in range(3)] == ["c", "a", "b"]


def test_an_unreachable_storage_counts_as_no_progress(
    desk: Desk, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object, **more: object) -> TrialSnapshot:
        raise OSError("away")

    monkeypatch.setattr(desk, "snapshot", away)
    monkeypatch.setattr(desk, "conclude", away)
    attempts = desk.attempts("a")
    for _ in range(9):
        begin(attempts)
        attempts.ended("a", Failure(FailureKind.STORAGE, "StorageError: away", "away"))
        clock[0] += 60
    assert attempts.finished
    assert desk.said[-1].endswith("not finished; run the same command again to continue")


def test_trials_avoid_an_unfit_node(desk: Desk, clock: list[float]) -> None:
    attempts = desk.attempts("a", "b")
    begin(attempts)
    attempts.ended("a", Failure(FailureKind.UNFIT, "node x: commit 1, expected 2", "unfit", "x"))
    assert begin(attempts) == PlannedAttempt("b", avoid=frozenset({"x"}))
    clock[0] += 60
    assert begin(attempts) == PlannedAttempt("a", avoid=frozenset({"x"}))
    attempts.ended("b", None)
    assert not any(failed for _, _, failed in desk.noted)

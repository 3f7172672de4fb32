"""The lines of the progress, and the rows of running trials: states, rate of records, time left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.scheduling.plan import reconcile
from orchestrator.scheduling.progress.live_table import RunningTrial
from orchestrator.scheduling.progress.moment import Moment, Pace, describe, duration, running_trials, seconds_left
from orchestrator.scheduling.progress.nodes import NodeCounts, NodeKey
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from orchestrator.store.trial_status import State, TrialStatus
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(5))
SWEEP = Sweep("five", "", TRIALS, Resources())
UNKNOWN = Pace(None, None)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Storage]:
    """A storage whose sweep has a driver."""
    storage = Storage(tmp_path)
    with storage.sweep("five").driver_lease:
        yield storage


def test_states_epochs_and_pace_are_shown_in_one_line(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    done, partly, diverged, failed, _ = (storage.trial(trial.trial_id) for trial in TRIALS)
    commit_epochs(done, range(5))
    commit_epochs(partly, range(2))
    commit_epochs(diverged, range(3), last_loss=float("nan"))
    failed.write_attempt(attempt("1", ended="failed", reason="ValueError: boom"))
    assert describe(reconcile(SWEEP, storage), Pace(1350.4, 242.0)) == (
        "5 trials: 2 done (1 diverged), 0 running, 1 failed, 2 waiting | 12 of 25 epochs, 1,350 an hour, 4m 02s left"
    )


def test_plain_lines_mention_the_tracker_only_if_it_is_unreachable(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    plan, nodes = reconcile(SWEEP, storage), NodeCounts(storage)
    plain = "5 trials: 0 done, 0 running, 5 waiting | 0 of 25 epochs"
    assert Moment.of(plan, UNKNOWN, nodes, None) == Moment((plain,))
    for state in ("shipping", "done", "damaged"):
        shipped = Moment.of(plan, UNKNOWN, nodes, ShipperStatus(state, "", 7, 1))
        assert shipped == Moment((plain,), shipping="tracker: 7 records to ship")
    away = Moment.of(plan, UNKNOWN, nodes, ShipperStatus("unreachable", "", 7, 1))
    assert away == Moment((f"{plain} | tracker unreachable, 7 records wait",))
    assert away.table().lines == away.lines
    assert shipped.table().lines == (plain, "tracker: 7 records to ship")


def test_a_running_trial_is_shown_with_its_last_record(running: Storage) -> None:
    commit_epochs(running.trial(TRIALS[0].trial_id), range(5))
    for trial in TRIALS[1:3]:
        running.trial(trial.trial_id).write_attempt(attempt("1"))
    record = Record(number=0, timestamp_ms=1, loss_train=2.5, hessian_lambda_max=31.25)
    running.trial(TRIALS[2].trial_id).commit(record, b"state", "digest", "1")
    first, second = running_trials(reconcile(SWEEP, running), {})
    assert first == RunningTrial("seed=1", "", 0, 4, None, None, "")
    assert second == RunningTrial("seed=2", "", 0, 4, 2.5, 31.25, "")


def test_the_node_is_shown_if_there_are_several(running: Storage) -> None:
    begun = replace(attempt("1"), node="n1")
    running.trial(TRIALS[1].trial_id).write_attempt(begun)
    plan, one = reconcile(SWEEP, running), {NodeKey.of(begun): "worker-1"}
    assert [row.node for row in running_trials(plan, one)] == [""]
    assert [row.node for row in running_trials(plan, {**one, NodeKey("b", "n2"): "b"})] == ["worker-1"]


def test_the_time_left_is_estimated_from_the_records_of_the_attempt() -> None:
    begun = replace(attempt("1"), started_ms=10_000, first_record=2)
    status = TrialStatus(State.RUNNING, 5, 9, begun, ended_ms=14_000)
    assert seconds_left(status) == 4.0  # 4 records in 4 s, 4 are missing
    assert seconds_left(replace(status, number=2)) is None
    assert seconds_left(replace(status, ended_ms=9_000)) is None
    assert seconds_left(replace(status, ended_ms=None)) is None
    assert seconds_left(replace(status, attempt=None)) is None


def test_durations_are_formatted() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 242, 11220)] == ["0s", "1m 00s", "4m 02s", "3h 07m"]

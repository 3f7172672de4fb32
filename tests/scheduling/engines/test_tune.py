"""The parts of Tune that the Ray engine replaces, without a Ray cluster."""

from types import SimpleNamespace

import pytest

ray = pytest.importorskip("ray")

from orchestrator.scheduling.engines import tune  # noqa: E402
from orchestrator.scheduling.engines.ray_nodes import Slots  # noqa: E402
from orchestrator.scheduling.engines.tune import (  # noqa: E402
    AttemptSearcher,
    FailedError,
    OutcomeCallback,
    SlotFillingScheduler,
    failure_of_trial,
)
from orchestrator.scheduling.retry import Failure, FailureKind, failure_of  # noqa: E402
from orchestrator.study.sweep import Resources  # noqa: E402
from tests.scheduling.desk import Desk  # noqa: E402
from tests.scheduling.engines.test_ray_nodes import nodes  # noqa: E402

LOST = Failure(FailureKind.LOST, "its process died", "died", "node-a")


def test_attempts_are_suggested_in_order_until_none_is_left(desk: Desk) -> None:
    attempts = desk.attempts("a", "b")
    searcher = AttemptSearcher(attempts, max_concurrent=None, gpu=False)
    suggested = [searcher.suggest(name) for name in ("1", "2", "3")]
    assert suggested == [
        {"trial_id": "a", "alone": False, "avoid": "", "order": 0},
        {"trial_id": "b", "alone": False, "avoid": "", "order": 1},
        None,
    ]
    callback = OutcomeCallback(attempts)
    for config in suggested[:2]:
        callback.on_trial_complete(1, [], SimpleNamespace(config=config))
    assert searcher.suggest("4") == AttemptSearcher.FINISHED


def test_concurrent_attempts_are_limited(desk: Desk) -> None:
    searcher = AttemptSearcher(desk.attempts("a", "b"), max_concurrent=1, gpu=False)
    assert searcher.suggest("1") is not None
    assert searcher.suggest("2") is None


def test_a_retry_avoids_the_node_on_which_the_trial_died(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = desk.attempts("a")
    searcher = AttemptSearcher(attempts, max_concurrent=None, gpu=False)
    config = searcher.suggest("1")
    monkeypatch.setattr(tune, "_read_error", lambda file: FailedError(LOST))
    OutcomeCallback(attempts).on_trial_error(1, [], SimpleNamespace(config=config, pickled_error_file="x"))
    monkeypatch.setattr("orchestrator.scheduling.attempts.time.monotonic", lambda: 1e12)
    assert searcher.suggest("2")["avoid"] == "node-a"


@pytest.mark.parametrize(("running", "chosen"), [(0, 3), (1, 3), (2, 1), (5, 1)])
def test_the_youngest_trial_starts_first_while_slots_are_free(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, running: int, chosen: int
) -> None:
    """The free process counts too, so three slots are filled if two trials are running."""
    monkeypatch.setattr(ray, "nodes", lambda: nodes(a=3))
    trials = [SimpleNamespace(status="RUNNING", config={"order": -1 - number}) for number in range(running)]
    trials += [SimpleNamespace(status="PENDING", config={"order": order}) for order in (2, 1, 3)]
    scheduler = SlotFillingScheduler(desk.attempts(), Slots(Resources()))
    controller = SimpleNamespace(get_live_trials=lambda: trials)
    assert scheduler.choose_trial_to_run(controller).config["order"] == chosen


def test_no_trial_is_chosen_if_none_is_pending(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", list)
    controller = SimpleNamespace(get_live_trials=list)
    assert SlotFillingScheduler(desk.attempts(), Slots(Resources())).choose_trial_to_run(controller) is None


def test_trials_that_wait_are_ended_once_the_run_stops(desk: Desk) -> None:
    waiting, running = (SimpleNamespace(status=status, config={"order": 0}) for status in ("PENDING", "RUNNING"))
    stopped: list[object] = []
    controller = SimpleNamespace(get_live_trials=lambda: [waiting, running], stop_trial=stopped.append)
    desk.stopped.set()
    assert SlotFillingScheduler(desk.attempts(), Slots(Resources())).choose_trial_to_run(controller) is None
    assert stopped == [waiting]


def test_the_failure_of_a_worker_is_sent_to_the_driver() -> None:
    assert failure_of_trial(FailedError(LOST)) == LOST


@pytest.mark.parametrize(
    ("message", "kind", "line"),
    [
        ("", FailureKind.LOST, "its process died (for an unknown reason)"),
        ("The node is running low on memory", FailureKind.OUT_OF_MEMORY, "ran out of memory"),
        ("The actor died because its node has died", FailureKind.LOST, "its node was lost"),
    ],
)
def test_a_dead_process_is_classified_by_rays_message(message: str, kind: FailureKind, line: str) -> None:
    failure = failure_of_trial(ray.exceptions.RayActorError(error_msg=message))
    assert failure.kind is kind
    assert line in failure.line


def test_a_death_without_an_error_counts_as_lost() -> None:
    assert failure_of_trial(None).kind is FailureKind.LOST


def test_another_error_keeps_its_traceback() -> None:
    error = ZeroDivisionError("a bug")
    assert failure_of_trial(error) == failure_of(error)


def test_a_missing_error_file_means_no_error() -> None:
    assert tune._read_error(None) is None
    assert tune._read_error("/nowhere/error.pkl") is None


def test_tune_components_pickle_to_empty_objects() -> None:
    for part in (AttemptSearcher, OutcomeCallback, SlotFillingScheduler):
        assert part.__reduce__(object.__new__(part)) == (object, ())

"""The policy of the shipper's loop, with a fake clock."""

from dataclasses import replace

import pytest

from orchestrator.tracking.policy import (
    FOLLOW,
    OUTAGE_REPORTS,
    Action,
    LoopState,
    Message,
    RoundOutcome,
    ShipperStep,
    next_step,
)

IDLE = RoundOutcome()
ACTIVE = RoundOutcome(follows_driver=True)
FAILED = RoundOutcome("tracker away")
FAILED_ACTIVE = RoundOutcome("tracker away", follows_driver=True)


class Loop:
    """Feeds outcomes to the policy and records its messages."""

    def __init__(self) -> None:
        self.now = 0.0
        self.state = LoopState()
        self.messages: list[Message] = []

    def step(self, outcome: RoundOutcome, seconds: float = 0.0) -> ShipperStep:
        """Returns the decision on an outcome `seconds` after the previous one."""
        self.now += seconds
        self.state, step = next_step(self.state, outcome, self.now, FOLLOW)
        self.messages += step.messages
        return step


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_an_outage_and_its_end_are_reported_once(loop: Loop) -> None:
    loop.step(ACTIVE)
    for _ in range(100):
        loop.step(FAILED_ACTIVE, 20)
    loop.step(ACTIVE)
    loop.step(ACTIVE)
    assert loop.messages == [Message.OUTAGE, Message.RECOVERY]


def test_pauses_grow_to_ten_seconds(loop: Loop) -> None:
    pauses = [loop.step(FAILED_ACTIVE).pause for _ in range(2000)]
    assert pauses[:5] == pytest.approx([0.7, 1.4, 2.8, 5.6, 10.0])
    assert set(pauses[4:]) == {10.0}
    loop.step(ACTIVE)
    assert loop.step(FAILED_ACTIVE).pause == 0.7


def test_an_unstable_tracker_is_reported_three_times_in_ten_minutes(loop: Loop) -> None:
    for _ in range(20):
        loop.step(FAILED_ACTIVE)
        loop.step(ACTIVE)
        loop.now += 10
    outage, unstable, recovery = Message.OUTAGE, Message.UNSTABLE, Message.RECOVERY
    assert loop.messages == [outage, recovery] * (OUTAGE_REPORTS - 1) + [unstable, recovery]
    loop.now = 601
    loop.step(FAILED_ACTIVE)
    loop.step(ACTIVE)
    assert len(loop.messages) == 2 * OUTAGE_REPORTS + 2


def test_a_long_outage_of_an_unstable_tracker_is_reported_later(loop: Loop) -> None:
    for _ in range(OUTAGE_REPORTS):
        loop.step(FAILED_ACTIVE)
        loop.step(ACTIVE)
    loop.messages.clear()
    loop.step(FAILED_ACTIVE)
    assert loop.messages == []
    loop.now = 601
    loop.step(FAILED_ACTIVE)
    loop.step(FAILED_ACTIVE)
    loop.step(ACTIVE)
    assert loop.messages == [Message.OUTAGE, Message.RECOVERY]


def test_shipper_never_gives_up_while_a_driver_is_active(loop: Loop) -> None:
    for _ in range(100):
        assert loop.step(FAILED_ACTIVE, 100).action is Action.WAIT
        assert loop.step(ACTIVE, 100).action is Action.WAIT


def test_retry_limit_starts_when_driver_ended_and_tracker_fails(loop: Loop) -> None:
    loop.step(FAILED_ACTIVE)
    assert loop.step(FAILED, 1000).action is Action.WAIT
    assert loop.step(FAILED, FOLLOW.patience - 1).action is Action.WAIT
    assert loop.step(FAILED, 2).action is Action.GIVE_UP


def test_retry_limit_starts_with_outage_if_driver_ended_before(loop: Loop) -> None:
    waiting = replace(IDLE, interrupted=True)
    loop.step(waiting)
    assert loop.step(FAILED, 1000).action is Action.WAIT
    assert loop.step(FAILED, FOLLOW.patience + 1).action is Action.GIVE_UP


def test_shipping_finishes_immediately_when_everything_is_uploaded(loop: Loop) -> None:
    assert loop.step(IDLE).action is Action.FINISH


def test_shipper_waits_for_workers_of_a_killed_driver(loop: Loop) -> None:
    left = replace(IDLE, interrupted=True)
    assert loop.step(left).action is Action.WAIT
    assert loop.step(left, FOLLOW.linger / 2).action is Action.WAIT
    assert loop.step(left, FOLLOW.linger).action is Action.FINISH


def test_runs_are_looked_up_again_after_some_were_created(loop: Loop) -> None:
    step = loop.step(replace(IDLE, created_runs=True))
    assert (step.action, step.pause) == (Action.LOOK_UP_RUNS, 0.0)
    assert loop.step(IDLE).action is Action.FINISH


def test_runs_are_looked_up_again_after_an_unanswered_request(loop: Loop) -> None:
    loop.step(replace(FAILED, unanswered=True))
    step = loop.step(IDLE, 1)
    assert step.action is Action.WAIT
    assert step.messages == (Message.RECOVERY, Message.RECHECK)
    assert loop.step(IDLE, FOLLOW.recheck - 2).action is Action.WAIT
    assert loop.step(IDLE, 2).action is Action.LOOK_UP_RUNS
    assert loop.step(IDLE).action is Action.FINISH


def test_an_unanswered_request_is_checked_while_a_driver_works(loop: Loop) -> None:
    loop.step(replace(FAILED_ACTIVE, unanswered=True))
    assert loop.step(ACTIVE, FOLLOW.recheck + 1).action is Action.LOOK_UP_RUNS
    assert loop.step(ACTIVE).action is Action.WAIT


def test_pause_lasts_as_long_as_reading_the_store_or_retry_after(loop: Loop) -> None:
    assert loop.step(replace(ACTIVE, read_seconds=4.0)).pause == 4.0
    assert loop.step(ACTIVE).pause == FOLLOW.poll
    assert loop.step(replace(FAILED_ACTIVE, retry_after=30.0)).pause == 30.0

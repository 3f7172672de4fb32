"""Decides what the shipper does after a round. Pure functions: state and time are arguments."""

from dataclasses import dataclass, replace
from enum import Enum, auto

OUTAGE_REPORTS = 3  # maximum number of outages reported within OUTAGE_REPORT_SECONDS
OUTAGE_REPORT_SECONDS = 600.0


@dataclass(frozen=True)
class Timing:
    """Durations in seconds."""

    poll: float = 0.7  # pause after a round; also the pause after the first failure
    longest_pause: float = 10.0  # upper limit of the pause, which doubles with every failure in a row
    patience: float = 60.0  # how long to retry a failing tracker if no driver is active
    linger: float = 3.0  # how long to wait for workers of a killed driver, which may commit for about 2 s
    recheck: float = 35.0  # how long a server may still work on a request whose client has timed out


FOLLOW = Timing()
ONE_SHOT = Timing(patience=5.0)  # a user is waiting


class Action(Enum):
    """What to do next."""

    WAIT = auto()
    LOOK_UP_RUNS = auto()  # start a round now that looks up all runs in the tracker again
    FINISH = auto()
    GIVE_UP = auto()


class Message(Enum):
    """What to report to the user."""

    OUTAGE = auto()
    UNSTABLE = auto()  # an outage; further ones are not reported for OUTAGE_REPORT_SECONDS
    RECOVERY = auto()
    RECHECK = auto()


@dataclass(frozen=True)
class RoundOutcome:
    """Result of a round."""

    failure: str = ""  # what failed and why; empty if the tracker has everything that was stored
    unanswered: bool = False  # whether the failed request may still be carried out
    retry_after: float = 0.0  # seconds that the tracker asked to wait
    follows_driver: bool = False  # whether an active driver may still add results
    interrupted: bool = False  # whether trials are interrupted; workers of a killed driver may still commit records
    created_runs: bool = False  # whether the shipper created runs since it last looked them up
    read_seconds: float = 0.0  # time to read the store


@dataclass(frozen=True)
class LoopState:
    """State of the policy between rounds. Times are in seconds of the loop's clock."""

    idle_since: float | None = None  # when the last active driver ended
    failing_since: float | None = None
    failures: int = 0  # number of failed rounds in a row
    recheck_at: float | None = None  # when to look up the runs again after an unanswered request
    reported: tuple[float, ...] = ()  # when the latest outages were reported
    muted: bool = False  # whether reports of the current outage are suppressed


@dataclass(frozen=True)
class ShipperStep:
    """The decision after a round."""

    action: Action
    messages: tuple[Message, ...] = ()
    pause: float = 0.0


def next_step(state: LoopState, outcome: RoundOutcome, now: float, timing: Timing) -> tuple[LoopState, ShipperStep]:
    """Returns the state after a round and what to do next. `now` is in seconds."""
    state, messages = _report(state, bool(outcome.failure), now)
    idle_since = None if outcome.follows_driver else _since(state.idle_since, now)
    failing_since = _since(state.failing_since, now) if outcome.failure else None
    recheck_at = now + timing.recheck if outcome.unanswered else state.recheck_at
    state = replace(state, idle_since=idle_since, failing_since=failing_since, recheck_at=recheck_at)
    if failing_since is not None:
        if idle_since is not None and now - max(idle_since, failing_since) > timing.patience:
            return state, ShipperStep(Action.GIVE_UP, messages)
        pause = min(timing.longest_pause, timing.poll * 2.0 ** min(state.failures - 1, 20))
        return state, ShipperStep(Action.WAIT, messages, max(pause, outcome.retry_after))
    if recheck_at is not None and now > recheck_at:
        return replace(state, recheck_at=None), ShipperStep(Action.LOOK_UP_RUNS, messages)
    pause = max(timing.poll, outcome.read_seconds)
    if idle_since is None:
        return state, ShipperStep(Action.WAIT, messages, pause)
    if recheck_at is not None:
        return state, ShipperStep(Action.WAIT, (*messages, Message.RECHECK), pause)
    if outcome.interrupted and now - idle_since < timing.linger:
        return state, ShipperStep(Action.WAIT, messages, pause)
    # A request to create a run may have been carried out twice, so runs are looked up once more before the end.
    return state, ShipperStep(Action.LOOK_UP_RUNS if outcome.created_runs else Action.FINISH, messages)


def _report(state: LoopState, failed: bool, now: float) -> tuple[LoopState, tuple[Message, ...]]:
    """Returns the messages to show: one per outage, and one per recovery from an outage that was shown.

    Shows at most `OUTAGE_REPORTS` outages in `OUTAGE_REPORT_SECONDS`.
    """
    if not failed:
        messages = (Message.RECOVERY,) if state.failures and not state.muted else ()
        return replace(state, failures=0, muted=False), messages
    state = replace(state, failures=state.failures + 1)
    if state.failures > 1 and not state.muted:
        return state, ()
    reported = tuple(at for at in state.reported if now - at <= OUTAGE_REPORT_SECONDS)
    if len(reported) >= OUTAGE_REPORTS:
        return replace(state, reported=reported, muted=True), ()
    message = Message.UNSTABLE if len(reported) == OUTAGE_REPORTS - 1 else Message.OUTAGE
    return replace(state, reported=(*reported, now), muted=False), (message,)


def _since(start: float | None, now: float) -> float:
    return now if start is None else start

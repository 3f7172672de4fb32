"""The progress of a sweep at one moment: lines of text, and the running trials."""

from dataclasses import dataclass

from orchestrator.counted import counted
from orchestrator.scheduling.plan import Plan
from orchestrator.scheduling.progress.live_table import LiveTable, RunningTrial
from orchestrator.scheduling.progress.nodes import NodeCounts, NodeKey
from orchestrator.store.sweep import ShipperStatus
from orchestrator.store.trial_status import State, TrialStatus


@dataclass(frozen=True)
class Pace:
    """The rate of records."""

    records_per_hour: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        """``, 1,350 an hour, 4m 02s left``; empty if the rate is unknown."""
        if self.records_per_hour is None or self.seconds_left is None:
            return ""
        return f", {self.records_per_hour:,.0f} an hour, {duration(self.seconds_left)} left"


@dataclass(frozen=True)
class Moment:
    """The progress at one moment."""

    lines: tuple[str, ...]
    """The whole sweep, and the nodes if several have trials."""
    unit: str = "epoch"
    """The noun for a record."""
    trials: tuple[RunningTrial, ...] = ()
    shipping: str = ""
    """What is left to ship to the tracker; empty if that is unknown or in the lines."""

    def table(self) -> LiveTable:
        """Returns what a terminal shows."""
        return LiveTable(self.trials, self.unit, tuple(filter(None, (*self.lines, self.shipping))))

    @classmethod
    def of(cls, plan: Plan, pace: Pace, nodes: NodeCounts, shipper: ShipperStatus | None) -> "Moment":
        """Returns the progress of a plan. `nodes` has counted its trials."""
        tracker = shipping = ""
        if shipper and shipper.state == "unreachable":
            tracker = f"tracker unreachable, {shipper.pending_records} records wait"
        elif shipper:
            shipping = f"tracker: {counted(shipper.pending_records, 'record')} to ship"
        lines = tuple(filter(None, (describe(plan, pace, tracker), nodes.line())))
        return cls(lines, plan.sweep.unit, running_trials(plan, nodes.names()), shipping)


def running_trials(plan: Plan, nodes: dict[NodeKey, str]) -> tuple[RunningTrial, ...]:
    """Returns the running trials of a plan. Nodes are named if there are several."""
    return tuple(
        _row(plan.sweep.label(plan.trial(key)) or key, status, nodes if len(nodes) > 1 else {})
        for key, status in plan.statuses.items()
        if status.state is State.RUNNING
    )


def _row(name: str, status: TrialStatus, nodes: dict[NodeKey, str]) -> RunningTrial:
    record, left = status.record, seconds_left(status)
    return RunningTrial(
        name,
        nodes.get(NodeKey.of(status.attempt), "") if status.attempt else "",
        max(status.number, 0),
        status.records,
        record.loss_train if record else None,
        record.hessian_lambda_max if record else None,
        duration(left) if left is not None else "",
    )


def seconds_left(status: TrialStatus) -> float | None:
    """The time that a running trial still takes at the mean time of its attempt's records, in seconds.

    None before the second record of the attempt. The first one is not typical: it includes the start of the process.
    """
    attempt = status.attempt
    if attempt is None or status.ended_ms is None:
        return None
    done, seconds = status.number + 1 - attempt.first_record, (status.ended_ms - attempt.started_ms) / 1000
    return seconds / done * status.missing_records if done > 1 and seconds > 0 else None


def describe(plan: Plan, pace: Pace, tracker: str = "") -> str:
    """``12 trials: 3 done, 2 running, 7 waiting | 41 of 132 records, 1,350 an hour, 4m 02s left``."""
    counts = plan.counts
    done = counts[State.COMPLETED] + counts[State.DIVERGED]
    states = [f"{done} done", f"{counts[State.RUNNING]} running"]
    if counts[State.DIVERGED]:
        states[0] += f" ({counts[State.DIVERGED]} diverged)"
    if counts[State.FAILED]:
        states.append(f"{counts[State.FAILED]} failed")
    states.append(f"{counts[State.PENDING] + counts[State.INTERRUPTED]} waiting")
    total = sum(status.records + 1 for status in plan.statuses.values())
    parts = [
        f"{counted(len(plan.statuses), 'trial')}: {', '.join(states)}",
        f"{total - plan.missing_records} of {total} {plan.sweep.unit}s{pace}",
    ]
    return " | ".join(part for part in [*parts, tracker] if part)


def duration(seconds: float) -> str:
    """``45s``, ``4m 02s``, ``3h 07m``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"

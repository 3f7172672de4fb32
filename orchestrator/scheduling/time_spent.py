"""The time that trials took and the rate of epochs, from the records alone."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from orchestrator.scheduling.plan import Plan
from orchestrator.store.errors import DamagedError
from orchestrator.store.storage import Storage

WINDOW_SECONDS = 600.0
"""The rate is taken over the last ten minutes, so that it follows the load of the machine."""
WINDOW_EPOCHS = 10
"""The rate is taken over at least this many epochs."""
MOST_RECORDS = 10_000
"""Records to read, which takes about a second. If there are more, a sample of the trials is read."""


@dataclass(frozen=True)
class Spent:
    """Seconds of trials by activity, summed over trials that run side by side."""

    training: float = 0.0
    evaluating: float = 0.0
    measuring: float = 0.0

    @property
    def seconds(self) -> float:
        """The sum."""
        return self.training + self.evaluating + self.measuring

    def __add__(self, other: Self) -> "Spent":
        """The sum of both."""
        return Spent(
            self.training + other.training, self.evaluating + other.evaluating, self.measuring + other.measuring
        )

    def times(self, factor: float) -> "Spent":
        """Each time multiplied by a factor."""
        return Spent(self.training * factor, self.evaluating * factor, self.measuring * factor)


@dataclass(frozen=True)
class Spending:
    """The time of the stored epochs of a sweep, and of the missing ones."""

    spent: Spent
    """Extrapolated from a sample if there are many trials."""
    seconds_left: float | None
    """None if no driver is at work, or too few epochs are known."""


def spending(plan: Plan, storage: Storage) -> Spending:
    """The time spent on a sweep by all its drivers. Reads up to ten thousand records, so call it rarely."""
    begun = [key for key, status in plan.statuses.items() if status.ended_ms is not None]
    latest = sorted(begun, key=lambda key: plan.statuses[key].ended_ms or 0, reverse=True)
    epochs = sum(plan.statuses[key].epoch + 1 for key in begun)
    # Half of the records are from the most recent trials, for the rate; the other half are a sample of the others.
    number = len(begun) if epochs <= MOST_RECORDS else max(1, MOST_RECORDS * len(begun) // epochs // 2)
    recent, others = latest[:number], sorted(latest[number:])
    spent, ended = _read(plan, storage, recent)
    if others:
        chosen = others[:: -(-len(others) // number)]
        sampled, _ = _read(plan, storage, chosen)
        share = sum(plan.statuses[key].epoch + 1 for key in others) / sum(
            plan.statuses[key].epoch + 1 for key in chosen
        )
        spent += sampled.times(share)
        # Before the end of the last of the others, not all epochs have been read.
        known = max(plan.statuses[key].ended_ms or 0 for key in others) / 1000
        ended = [moment for moment in ended if moment > known]
    holder = storage.sweep(plan.sweep.name).driver_lease.holder()
    left = seconds_left(plan.missing_epochs, ended, holder.since, time.time()) if holder else None
    return Spending(spent, left)


def _read(plan: Plan, storage: Storage, trial_ids: Iterable[str]) -> tuple[Spent, list[float]]:
    """The time that some trials took, and when each of their epochs ended."""
    spent = Spent()
    ended: list[float] = []
    for trial_id in trial_ids:
        trial = storage.trial(trial_id)
        for epoch in trial.epochs():
            if epoch > plan.statuses[trial_id].epochs:
                break
            try:
                record = trial.read(epoch).record
            except DamagedError:  # recorded, and computed again by the next run
                continue
            ended.append(record.timestamp_ms / 1000)
            times = record.time_train_seconds, record.time_evaluate_seconds, record.time_measure_seconds
            spent += Spent(*(seconds or 0.0 for seconds in times))
    return spent, ended


def seconds_left(missing: int, ended: Iterable[float], since: float, now: float) -> float | None:
    """The time of the missing epochs at the rate of the last ones; None if fewer than two are known.

    Args:
        missing: number of epochs.
        ended: when epochs ended, Unix time in seconds, in any order.
        since: start of the current driver. Epochs that ended before say nothing about its rate.
        now: Unix time in seconds.
    """
    times = sorted(moment for moment in ended if moment >= since)
    recent = [moment for moment in times if moment >= now - WINDOW_SECONDS]
    window = recent if len(recent) >= WINDOW_EPOCHS else times[-WINDOW_EPOCHS:]
    if len(window) < 2 or not missing:
        return None
    return missing * (now - window[0]) / (len(window) - 1)

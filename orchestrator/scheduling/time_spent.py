"""Where the time of trials goes, and how fast epochs come in: from the records alone."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from orchestrator.scheduling.plan import Plan
from orchestrator.store.errors import DamagedError
from orchestrator.store.storage import Storage

WINDOW_SECONDS = 600.0
"""The rate is that of the last ten minutes, so that it follows what the machine does."""
WINDOW_EPOCHS = 10
"""Or of so many epochs, where they take longer."""
MOST_RECORDS = 10_000
"""Are read to tell where the time went: about a second. Beyond that, trials stand for others."""


@dataclass(frozen=True)
class Spent:
    """Seconds of trials, by what they were spent on. Trials side by side add up."""

    training: float = 0.0
    evaluating: float = 0.0
    measuring: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.training + self.evaluating + self.measuring

    def __add__(self, other: Self) -> "Spent":
        """Both together."""
        return Spent(
            self.training + other.training, self.evaluating + other.evaluating, self.measuring + other.measuring
        )

    def times(self, factor: float) -> "Spent":
        """As much of each, so many times."""
        return Spent(self.training * factor, self.evaluating * factor, self.measuring * factor)


@dataclass(frozen=True)
class Spending:
    """What the epochs stored of a sweep took, and what the missing ones will."""

    spent: Spent
    """Of many trials an estimate: from some of them, times how many there are."""
    seconds_left: float | None
    """None where nobody is at work, or too little is known."""


def spending(plan: Plan, storage: Storage) -> Spending:
    """What is stored of a sweep, whoever computed it. Reads up to some ten thousand records: not for once a second."""
    begun = [key for key, status in plan.statuses.items() if status.ended_ms is not None]
    latest = sorted(begun, key=lambda key: plan.statuses[key].ended_ms or 0, reverse=True)
    epochs = sum(plan.statuses[key].epoch + 1 for key in begun)
    # Half of what is read is the trials last at work, for the pace; the other half stands for all that were before.
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
        # Of what ended before the last of the others did, not all has been read.
        known = max(plan.statuses[key].ended_ms or 0 for key in others) / 1000
        ended = [moment for moment in ended if moment > known]
    holder = storage.sweep(plan.sweep.name).driver_lease.holder()
    left = seconds_left(plan.missing_epochs, ended, holder.since, time.time()) if holder else None
    return Spending(spent, left)


def _read(plan: Plan, storage: Storage, trial_ids: Iterable[str]) -> tuple[Spent, list[float]]:
    """What the records of some trials say: the time they took, and when each epoch ended."""
    spent = Spent()
    ended: list[float] = []
    for trial_id in trial_ids:
        trial = storage.trial(trial_id)
        for epoch in trial.epochs():
            if epoch > plan.statuses[trial_id].epochs:
                break
            try:
                record = trial.read(epoch).record
            except DamagedError:  # it is noted, and computed again by the next run
                continue
            ended.append(record.timestamp_ms / 1000)
            times = record.time_train_seconds, record.time_evaluate_seconds, record.time_measure_seconds
            spent += Spent(*(seconds or 0.0 for seconds in times))
    return spent, ended


def seconds_left(missing: int, ended: Iterable[float], since: float, now: float) -> float | None:
    """How long the missing epochs take at the pace of the last ones; None while fewer than two are known.

    Args:
        missing: epochs.
        ended: when epochs ended, Unix time in seconds, in any order.
        since: when the driver now at work began; what ended before says nothing of its pace.
        now: Unix time in seconds.
    """
    times = sorted(moment for moment in ended if moment >= since)
    recent = [moment for moment in times if moment >= now - WINDOW_SECONDS]
    window = recent if len(recent) >= WINDOW_EPOCHS else times[-WINDOW_EPOCHS:]
    if len(window) < 2 or not missing:
        return None
    return missing * (now - window[0]) / (len(window) - 1)

"""The time spent on trials and the rate of records, computed from the stored records."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from orchestrator.scheduling.plan import Plan
from orchestrator.store.errors import DamagedError
from orchestrator.store.storage import Storage
from orchestrator.study.record import Record

WINDOW_SECONDS = 600.0
"""The rate is averaged over the last ten minutes, so that it follows the load of the machine."""
WINDOW_RECORDS = 10
"""The rate is averaged over at least this many records."""
MOST_RECORDS = 10_000
"""Maximum number of records to read, which takes about a second. If there are more, trials are sampled."""


@dataclass(frozen=True)
class Spent:
    """Seconds by activity, summed over all trials, including concurrent ones."""

    training: float = 0.0
    evaluating: float = 0.0
    measuring: float = 0.0
    quantities: Mapping[str, float] = field(default_factory=dict)
    """Seconds by quantity, a part of `measuring`. Records of earlier versions do not have them."""

    @property
    def seconds(self) -> float:
        """The sum over all activities."""
        return self.training + self.evaluating + self.measuring

    def __add__(self, other: Self) -> "Spent":
        """The sum of both."""
        return Spent(
            self.training + other.training,
            self.evaluating + other.evaluating,
            self.measuring + other.measuring,
            dict(Counter(self.quantities) + Counter(other.quantities)),
        )

    def times(self, factor: float) -> "Spent":
        """Each time multiplied by a factor."""
        quantities = {name: seconds * factor for name, seconds in self.quantities.items()}
        return Spent(self.training * factor, self.evaluating * factor, self.measuring * factor, quantities)


@dataclass(frozen=True)
class Spending:
    """The time spent on the stored records of a sweep, and the expected time of the missing ones."""

    spent: Spent
    """Extrapolated from a sample if there are many trials."""
    seconds_left: float | None
    """None if no driver is running, or too few records have ended."""
    failed: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    """The records at which a quantity of the user raised, by trial. Only of the trials that were read."""


def spending(plan: Plan, storage: Storage) -> Spending:
    """Returns the time spent on a sweep by all its drivers. Reads up to ten thousand records, so call it rarely."""
    begun = [key for key, status in plan.statuses.items() if status.ended_ms is not None]
    latest = sorted(begun, key=lambda key: plan.statuses[key].ended_ms or 0, reverse=True)
    records = sum(plan.statuses[key].number + 1 for key in begun)
    # Half of the records are from the most recent trials, for the rate; the other half sample the older trials.
    number = len(begun) if records <= MOST_RECORDS else max(1, MOST_RECORDS * len(begun) // records // 2)
    recent, others = latest[:number], sorted(latest[number:])
    failed: dict[str, list[Record]] = {}
    spent, ended = _read(plan, storage, recent, failed)
    if others:
        chosen = others[:: -(-len(others) // number)]
        sampled, _ = _read(plan, storage, chosen, failed)
        share = sum(plan.statuses[key].number + 1 for key in others) / sum(
            plan.statuses[key].number + 1 for key in chosen
        )
        spent += sampled.times(share)
        # Older trials are only sampled, so the end times are complete only after the last of them ended.
        known = max(plan.statuses[key].ended_ms or 0 for key in others) / 1000
        ended = [moment for moment in ended if moment > known]
    holder = storage.sweep(plan.sweep.name).driver_lease.holder()
    left = seconds_left(plan.missing_records, ended, holder.since, time.time()) if holder else None
    return Spending(spent, left, failed)


def _read(
    plan: Plan, storage: Storage, trial_ids: Iterable[str], failed: dict[str, list[Record]]
) -> tuple[Spent, list[float]]:
    """Returns the time spent on these trials, and the Unix times at which their records ended. Extends `failed`."""
    spent = Spent()
    ended: list[float] = []
    for trial_id in trial_ids:
        trial = storage.trial(trial_id)
        for number in trial.numbers():
            if number > plan.statuses[trial_id].records:
                break
            try:
                record = trial.read(number).record
            except DamagedError:  # `read` records the damage, and the next run computes the record again
                continue
            ended.append(record.timestamp_ms / 1000)
            spent += Spent(
                record.time_train_seconds or 0.0,
                record.time_evaluate_seconds or 0.0,
                record.time_measure_seconds or 0.0,
                record.time_per_quantity,
            )
            if record.failures:
                failed.setdefault(trial_id, []).append(record)
    return spent, ended


def seconds_left(missing: int, ended: Iterable[float], since: float, now: float) -> float | None:
    """Returns the time for the missing records at the recent rate; None if fewer than two records have ended.

    Args:
        missing: number of records.
        ended: Unix times in seconds at which records ended, in any order.
        since: start of the current driver. Records that ended earlier are ignored.
        now: Unix time in seconds.
    """
    times = sorted(moment for moment in ended if moment >= since)
    recent = [moment for moment in times if moment >= now - WINDOW_SECONDS]
    window = recent if len(recent) >= WINDOW_RECORDS else times[-WINDOW_RECORDS:]
    if len(window) < 2 or not missing:
        return None
    return missing * (now - window[0]) / (len(window) - 1)

"""Compares a sweep with the storage: the status of every trial, and the missing records."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State, TrialStatus, trial_status
from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep import Sweep


@dataclass(frozen=True, repr=False)
class Plan:
    """The status of every trial of a sweep, in the order of the sweep file."""

    sweep: Sweep
    statuses: dict[str, TrialStatus]

    def __repr__(self) -> str:
        """Returns the summary."""
        return self.summary

    @property
    def todo(self) -> list[str]:
        """Trials that are not complete. The next run tries failed ones again."""
        return [trial_id for trial_id, status in self.statuses.items() if not status.state.final]

    @property
    def counts(self) -> Counter[State]:
        """Number of trials by state."""
        return Counter(status.state for status in self.statuses.values())

    @property
    def missing_records(self) -> int:
        """Number of records still to be computed."""
        return sum(status.missing_records for status in self.statuses.values())

    @property
    def damaged(self) -> dict[str, tuple[int, ...]]:
        """Records known to be damaged, by trial id."""
        return {key: status.damaged for key, status in self.statuses.items() if status.damaged}

    @property
    def summary(self) -> str:
        """One line, such as ``quickstart: 9 of 12 trials done, 1 failed, 21 records missing``."""
        done = len(self.statuses) - len(self.todo)
        diverged, failed = self.counts[State.DIVERGED], self.counts[State.FAILED]
        parts = [f"{self.sweep.name}: {done} of {len(self.statuses)} trials done"]
        parts[0] += f" ({diverged} diverged)" if diverged else ""
        if self.todo:
            parts += [f"{failed} failed"] if failed else []
            parts.append(f"{self.missing_records} {self.sweep.unit}s missing")
        return ", ".join(parts)

    def trial(self, trial_id: str) -> TrialConfig:
        """Returns the config of a trial."""
        return self.sweep.by_id[trial_id]


def reconcile(sweep: Sweep, storage: Storage, before: Plan | None = None) -> Plan:
    """Returns the status of every trial of a sweep.

    Trials that were complete in the plan `before` are not read again.
    """
    final = {key: status for key, status in before.statuses.items() if status.state.final} if before else {}
    holder = storage.sweep(sweep.name).driver_lease.holder()
    since = holder.since if holder else None
    suspects = storage.suspects()
    return Plan(
        sweep,
        {
            key: final.get(key) or trial_status(storage.trial(key), trial, since, suspects.get(key, ()))
            for key, trial in sweep.by_id.items()
        },
    )


def subset(sweep: Sweep, trial_ids: Iterable[str]) -> Sweep:
    """Returns the sweep restricted to these trials."""
    return replace(sweep, trials=tuple(sweep.by_id[trial_id] for trial_id in trial_ids))

"""The status of a trial, derived from its commits and the outcome of its last attempt."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.store.attempt import Attempt
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record


class State(StrEnum):
    """The state of a trial."""

    PENDING = "pending"
    INTERRUPTED = "interrupted"
    RUNNING = "running"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing is left to do: all records exist, or the trial reached `stop` or diverged, also a result."""
        return self in (State.COMPLETED, State.DIVERGED)


@dataclass(frozen=True)
class TrialStatus:
    """The status of a trial."""

    state: State
    number: int
    """The number of the last record if none is missing; in general, the count of intact requested records minus 1."""
    records: int
    """The number of the last requested record."""
    attempt: Attempt | None
    """The last attempt; None if the state is final or there was no attempt."""
    ended_ms: int | None = field(default=None, compare=False)
    """The end time of the last committed record (Unix time in ms); None if there is none or it is damaged."""
    damaged: tuple[int, ...] = ()
    """Numbers of records known to be damaged; they count as missing."""
    data_digest: str | None = field(default=None, compare=False)
    """The digest of the data behind the last committed record; None if there is none or it is damaged."""
    record: Record | None = field(default=None, compare=False)
    """The last committed record of a running trial; None for other trials, and if there is none or it is damaged."""
    memory_mib: float | None = field(default=None, compare=False)
    """The memory in the last committed record (`Record.system_memory_mib`); None if it is not known."""

    @property
    def missing_records(self) -> int:
        """The number of records still to be computed, including record 0."""
        return 0 if self.state.final else self.records - self.number


def trial_status(
    trial: TrialStore, config: TrialConfig, driver_since: float | None = None, suspects: Iterable[int] = ()
) -> TrialStatus:
    """Returns the status of a trial.

    Args:
        trial: the stored trial.
        config: the requested trial. Another sweep may have stored more or fewer records of it.
        driver_since: when the current driver took its lease, Unix time in seconds. An attempt that began earlier and
            has not ended was killed.
        suspects: numbers of records that a reader found damaged. They are read again, and so is the last record.
    """
    numbers = [number for number in trial.numbers() if number <= config.records]
    last = numbers[-1] if numbers else -1
    commit = trial.read_intact(last) if numbers else None
    record = commit.record if commit else None
    damaged = [number for number in suspects if number in numbers[:-1] and trial.read_intact(number) is None]
    damaged += [last] if numbers and record is None else []
    intact = len(numbers) - len(damaged)  # only damaged records are recomputed; later ones stay
    ended_ms = record.timestamp_ms if record else None
    digest = commit.data_digest if commit else None
    memory = record.system_memory_mib if record else None
    if record and record.diverged and intact == last + 1:
        return TrialStatus(State.DIVERGED, last, config.records, None, ended_ms, (), digest, None, memory)
    if intact == config.records + 1 or (record and config.ends_at(record) and intact == last + 1):
        return TrialStatus(State.COMPLETED, last, config.records, None, ended_ms, (), digest, None, memory)
    attempt = next(reversed(trial.attempts()), None)
    state = _unfinished_state(attempt, intact, driver_since)
    shown = record if state is State.RUNNING else None
    return TrialStatus(state, intact - 1, config.records, attempt, ended_ms, tuple(damaged), digest, shown, memory)


def _unfinished_state(attempt: Attempt | None, intact: int, driver_since: float | None) -> State:
    if attempt and attempt.ended == State.FAILED:
        return State.FAILED
    if attempt and attempt.ended is None and driver_since is not None and attempt.started_ms / 1000 >= driver_since:
        return State.RUNNING
    return State.INTERRUPTED if intact else State.PENDING

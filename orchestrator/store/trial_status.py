"""The status of a trial, derived from its commits and the outcome of its last attempt."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.store.attempt import Attempt
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig


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
    epoch: int
    """The number of intact requested epochs minus 1: the last epoch if none is missing, -1 if none is stored."""
    epochs: int
    """The number of requested epochs, not counting epoch 0."""
    attempt: Attempt | None
    """The last attempt; None if the state is final or there was no attempt."""
    ended_ms: int | None = field(default=None, compare=False)
    """The end time of the last committed epoch (Unix time in ms); None if there is none or it is damaged."""
    damaged: tuple[int, ...] = ()
    """Epochs known to be damaged; they count as missing."""
    data_digest: str | None = field(default=None, compare=False)
    """The digest of the data behind the last committed epoch; None if there is none or it is damaged."""

    @property
    def missing_epochs(self) -> int:
        """The number of epochs still to be computed, including epoch 0."""
        return 0 if self.state.final else self.epochs - self.epoch


def trial_status(
    trial: TrialStore, config: TrialConfig, driver_since: float | None = None, suspects: Iterable[int] = ()
) -> TrialStatus:
    """Returns the status of a trial.

    Args:
        trial: the stored trial.
        config: the requested trial; another sweep may request more or fewer epochs of it.
        driver_since: when the current driver took its lease, Unix time in seconds. An attempt that began earlier and
            has not ended was killed.
        suspects: epochs that a reader found damaged. They are read again, and so is the last epoch.
    """
    epochs = [epoch for epoch in trial.epochs() if epoch <= config.records]
    last = epochs[-1] if epochs else -1
    commit = trial.read_intact(last) if epochs else None
    record = commit.record if commit else None
    damaged = [epoch for epoch in suspects if epoch in epochs[:-1] and trial.read_intact(epoch) is None]
    damaged += [last] if epochs and record is None else []
    intact = len(epochs) - len(damaged)  # only damaged epochs are recomputed; later ones stay
    ended_ms = record.timestamp_ms if record else None
    digest = commit.data_digest if commit else None
    if record and record.diverged and intact == last + 1:
        return TrialStatus(State.DIVERGED, last, config.records, None, ended_ms, data_digest=digest)
    if intact == config.records + 1 or (record and config.ends_at(record) and intact == last + 1):
        return TrialStatus(State.COMPLETED, last, config.records, None, ended_ms, data_digest=digest)
    attempt = next(reversed(trial.attempts()), None)
    state = _unfinished(attempt, intact, driver_since)
    return TrialStatus(state, intact - 1, config.records, attempt, ended_ms, tuple(damaged), digest)


def _unfinished(attempt: Attempt | None, intact: int, driver_since: float | None) -> State:
    if attempt and attempt.ended == State.FAILED:
        return State.FAILED
    if attempt and attempt.ended is None and driver_since is not None and attempt.started_ms / 1000 >= driver_since:
        return State.RUNNING
    return State.INTERRUPTED if intact else State.PENDING

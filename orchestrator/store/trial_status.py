"""How a trial stands, derived from what is committed and how its last attempt ended."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.store.attempt import Attempt
from orchestrator.store.errors import DamagedError
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord


class State(StrEnum):
    """Where a trial is on its way."""

    PENDING = "pending"
    INTERRUPTED = "interrupted"
    RUNNING = "running"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing is left to do: all epochs are there, or the trial diverged, which is a result."""
        return self in (State.COMPLETED, State.DIVERGED)


@dataclass(frozen=True)
class TrialStatus:
    """How a trial stands."""

    state: State
    epoch: int
    """The last committed epoch that is asked for; -1 before epoch 0. Where one before it is gone, as many fewer."""
    epochs: int
    """The epochs asked for, without epoch 0."""
    attempt: Attempt | None
    """The last attempt."""
    ended_ms: int | None = field(default=None, compare=False)
    """When the last of these epochs ended, Unix time in milliseconds; None before epoch 0."""
    damaged: tuple[int, ...] = ()
    """Epochs whose files the medium has damaged, as far as that is known: they are missing."""

    @property
    def missing_epochs(self) -> int:
        """Epochs still to be computed, epoch 0 among them."""
        return 0 if self.state.final else self.epochs - self.epoch


def trial_status(
    trial: TrialStore, config: TrialConfig, driver_since: float | None = None, suspects: Iterable[int] = ()
) -> TrialStatus:
    """How a trial stands.

    Args:
        trial: what is stored of it.
        config: what is asked for; another sweep may ask for more epochs of the same trial, or fewer.
        driver_since: when the driver now at work took its lease, Unix time in seconds; an open attempt from before
            was killed.
        suspects: epochs that somebody found damaged: they are read, as the last one is.
    """
    epochs = [epoch for epoch in trial.epochs() if epoch <= config.epochs]
    last = epochs[-1] if epochs else -1
    record = _read(trial, last) if epochs else None
    damaged = [epoch for epoch in suspects if epoch in epochs[:-1] and _read(trial, epoch) is None]
    damaged += [last] if epochs and record is None else []
    whole = len(epochs) - len(damaged)  # an epoch that was damaged is computed again, and those after it stay
    ended_ms = record.timestamp_ms if record else None
    if record and record.diverged and whole == last + 1:
        return TrialStatus(State.DIVERGED, last, config.epochs, None, ended_ms)
    if whole == config.epochs + 1:
        return TrialStatus(State.COMPLETED, last, config.epochs, None, ended_ms)
    last = whole - 1
    attempts = trial.attempts()
    attempt = attempts[-1] if attempts else None
    state = _unfinished(attempt, last, driver_since)
    return TrialStatus(state, last, config.epochs, attempt, ended_ms, tuple(damaged))


def _read(trial: TrialStore, epoch: int) -> EpochRecord | None:
    """None where it is damaged."""
    try:
        return trial.read(epoch).record
    except DamagedError:
        return None


def _unfinished(attempt: Attempt | None, last: int, driver_since: float | None) -> State:
    if attempt and attempt.ended == State.FAILED:
        return State.FAILED
    if attempt and attempt.ended is None and driver_since is not None and attempt.started_ms / 1000 >= driver_since:
        return State.RUNNING
    return State.INTERRUPTED if last >= 0 else State.PENDING

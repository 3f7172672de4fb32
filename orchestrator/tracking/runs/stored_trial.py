"""Snapshot of one trial in the store, read once per round."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.store.attempt import Attempt
from orchestrator.store.errors import StorageError
from orchestrator.store.trial import TrialStore
from orchestrator.store.trial_status import State, TrialStatus, trial_status
from orchestrator.study.config import TrialConfig
from orchestrator.tracking.runs import labels


class DamagedTrialError(Exception):
    """A stored file of one trial cannot be read. Other trials are not affected."""


@dataclass(frozen=True)
class StoredTrial:
    """Snapshot of a trial in the store. Its properties may read further files and raise DamagedTrialError."""

    config: TrialConfig
    store: TrialStore
    status: TrialStatus
    numbers: tuple[int, ...]  # all committed records, even those beyond config.records
    attempts: tuple[Attempt, ...]
    driver_active: bool  # whether a driver works on the sweep

    @property
    def last_attempt(self) -> Attempt | None:
        """The latest attempt; None if there was none."""
        return self.attempts[-1] if self.attempts else None

    @property
    def outcome(self) -> State | None:
        """How the trial ended; None while it is running or pending."""
        state = self.status.state
        if state.final or state is State.FAILED:
            return state
        started = self.status.number >= 0 or bool(self.attempts)
        return State.INTERRUPTED if started and not self.driver_active else None

    @property
    def ended_ms(self) -> int:
        """When the trial ended, in Unix ms. Derived from stored times only, so shipping again gives the same value."""
        attempt = self.last_attempt.started_ms if self.last_attempt and not self.status.state.final else 0
        if self.status.number < 0:
            return attempt
        with reading(self.store):
            return max(self.store.read(self.status.number).record.timestamp_ms, attempt)


def read_trial(trial: TrialStore, config: TrialConfig, driver_since: float | None) -> StoredTrial:
    """Returns a snapshot of the requested trial. `driver_since` is as in `store.trial_status.trial_status`."""
    with reading(trial):
        status = trial_status(trial, config, driver_since)
        numbers, attempts = tuple(trial.numbers()), tuple(trial.attempts())
        return StoredTrial(config, trial, status, numbers, attempts, driver_since is not None)


@contextlib.contextmanager
def reading(trial: TrialStore) -> Iterator[None]:
    """Raises DamagedTrialError if a file of the trial is damaged, or was deleted after it was listed."""
    try:
        yield
    except (StorageError, AssertionError) as error:
        raise DamagedTrialError(f"trial {trial.trial_id}: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedTrialError(
            f"trial {trial.trial_id}: one of its files is damaged ({type(error).__name__}: {error}); "
            "delete it, then run the sweep again"
        ) from error


def origin(trial: TrialStore) -> str | None:
    """Returns when record 0 ended, in Unix ms; None before. Differs if the trial was trained again from scratch."""
    with reading(trial):
        numbers = trial.numbers()
        if not numbers:
            return None
        ended_ms = trial.read(0).record.timestamp_ms if numbers[0] == 0 else trial.damaged_timestamps().get(0)
        return None if ended_ms is None else str(ended_ms)


def started_ms(stored: StoredTrial | None) -> int:
    """Returns when the trial's first attempt started, in Unix ms; the current time if there was no attempt."""
    return stored.attempts[0].started_ms if stored and stored.attempts else time.time_ns() // 1_000_000


def unshipped_measurements(tags: Mapping[str, str], trial: TrialStore, config: TrialConfig) -> dict[str, list[int]]:
    """Returns the remeasured records of each label that is not completely shipped according to the run's tags."""
    stored = {
        label: [number for number in trial.remeasurements.numbers(label) if number <= config.records]
        for label in trial.remeasurements.labels()
    }
    return {
        label: numbers
        for label, numbers in stored.items()
        if numbers and tags.get(f"{labels.MEASURED_AGAIN}{label}") != labels.measured_tag(numbers)
    }

"""One trial and its run: the run is brought up to what is stored, and never beyond."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.store.attempt import Attempt
from orchestrator.store.commit import Commit
from orchestrator.store.provenance.provenance import Provenance
from orchestrator.store.provenance.redaction import failure_line, redacted
from orchestrator.store.trial import TrialStore, first_missing
from orchestrator.store.trial_status import State, TrialStatus, trial_status
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Sweep
from orchestrator.tracking import artifacts, labels
from orchestrator.tracking.stored_trial import DamagedTrialError, whole
from orchestrator.tracking.tracked_run import BATCH_METRICS, TrackedRun

_STATUS = {
    State.COMPLETED: "FINISHED",
    State.DIVERGED: "FINISHED",  # a result
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


@dataclass(frozen=True)
class Stored:
    """What the store says of a trial, read once a round."""

    config: TrialConfig
    trial: TrialStore
    status: TrialStatus
    epochs: tuple[int, ...]
    """All that are committed, those too that are not asked for."""
    attempts: tuple[Attempt, ...]
    driver: bool
    """Whether a driver is at work on the sweep."""

    @property
    def attempt(self) -> Attempt | None:
        """The last try at the trial, if there was one."""
        return self.attempts[-1] if self.attempts else None

    @property
    def begun(self) -> bool:
        """Whether anybody ever tried it."""
        return self.status.epoch >= 0 or bool(self.attempts)

    @property
    def ending(self) -> State | None:
        """How the trial ended, or None where it goes on or has not begun."""
        state = self.status.state
        if state in (State.COMPLETED, State.DIVERGED, State.FAILED):
            return state
        return State.INTERRUPTED if self.begun and not self.driver else None

    @property
    def ended_ms(self) -> int:
        """When the trial ended, from the store alone: shipped again, it ended at the same moment."""
        last = _read(self.trial, self.status.epoch).record.timestamp_ms if self.status.epoch >= 0 else 0
        attempt = self.attempt.started_ms if self.attempt and not self.status.state.final else 0
        return max(last, attempt)


def read_stored(trial: TrialStore, config: TrialConfig, driver_since: float | None) -> Stored:
    """What the store says now; `driver_since` as in `store.trial_status.trial_status`."""
    stands = trial_status(trial, config, driver_since)
    return Stored(config, trial, stands, tuple(trial.epochs()), tuple(trial.attempts()), driver_since is not None)


def origin(trial: TrialStore) -> str | None:
    """When the trial's epoch 0 ended, which tells it from the same trial trained anew; None before that."""
    epochs = trial.epochs()
    if not epochs:
        return None
    ended_ms = trial.read(0).record.timestamp_ms if epochs[0] == 0 else trial.damaged_timestamps().get(0)
    return None if ended_ms is None else str(ended_ms)


def started_ms(stored: Stored | None) -> int:
    """When the trial's first attempt began, or now."""
    return stored.attempts[0].started_ms if stored and stored.attempts else time.time_ns() // 1_000_000


def describe(
    run: TrackedRun, sweep: Sweep, config: TrialConfig, attempt: Attempt | None, provenance: Provenance
) -> None:
    """Says on the run what the trial is and what ran it last: its attempt, or the sweep's driver before that."""
    run.describe(
        labels.trial_name(sweep, config),
        tags_of(sweep, config, attempt, provenance),
        labels.trial_params(config),
    )


def tags_of(sweep: Sweep, config: TrialConfig, attempt: Attempt | None, provenance: Provenance) -> dict[str, str]:
    """The tags of a trial's run."""
    environment: dict[str, Any] = attempt.environment if attempt else {}
    return labels.trial_tags(sweep, config, attempt.provenance if attempt else provenance, environment)


def ship_epochs(run: TrackedRun, stored: Stored, tags: dict[str, str], on_shipped: Callable[[int], None]) -> None:
    """Ships the committed epochs that the tracker lacks, as many in a request as it takes.

    Raises:
        DamagedTrialError: where one cannot be read; those before it are shipped.
    """
    # Not beyond an epoch that was set aside and is being computed again: the cursor would pass it.
    end = min(first_missing(list(stored.epochs)), stored.config.epochs + 1)
    missing = [e for e in stored.epochs if run.shipped_epoch < e < end]
    if stored.status.state is State.RUNNING or (missing and stored.ending is None):
        _go_on(run)
    batch: list[Commit] = []
    room = BATCH_METRICS
    for epoch in missing:
        try:
            commit = _read(stored.trial, epoch)
        except DamagedTrialError:
            if batch:  # what lies before it is whole
                _ship(run, batch, tags, on_shipped)
            raise
        room -= len(commit.record.metrics())
        if batch and room < 0:
            _ship(run, batch, tags, on_shipped)
            batch, room = [], BATCH_METRICS - len(commit.record.metrics())
        batch.append(commit)
    if batch:
        _ship(run, batch, tags, on_shipped)


def ship_measurements(
    run: TrackedRun, trial: TrialStore, config: TrialConfig, on_shipped: Callable[[int], None]
) -> None:
    """Ships what was measured again, one way to measure after the other: the samples, then the points and a tag.

    Raises:
        DamagedTrialError: where something of it cannot be read.
    """
    unshipped = whole(trial.trial_id, lambda: unshipped_measurements(run.tags, trial, config))
    for label, epochs in unshipped.items():
        records = [_read_measured(trial, label, epoch) for epoch in epochs]
        run.upload(artifacts.curvature_file(label), artifacts.curvature_json(records))
        run.log_again(label, records, {f"{labels.MEASURED_AGAIN}{label}": labels.measured_tag(epochs)})
        on_shipped(len(epochs))


def unshipped_measurements(tags: Mapping[str, str], trial: TrialStore, config: TrialConfig) -> dict[str, list[int]]:
    """All epochs under each label of which a run with these tags does not have all. Sent again, nothing changes."""
    stored = {
        label: [epoch for epoch in trial.remeasurements.epochs(label) if epoch <= config.epochs]
        for label in trial.remeasurements.labels()
    }
    return {
        label: epochs
        for label, epochs in stored.items()
        if epochs and tags.get(f"{labels.MEASURED_AGAIN}{label}") != labels.measured_tag(epochs)
    }


def end(run: TrackedRun, stored: Stored) -> None:
    """Gives an ended trial's run its files, then its outcome, then its status, so that a kill between is made good.

    Raises:
        DamagedTrialError: where something of it cannot be read.
    """
    state = stored.ending
    if state is None:
        _correct(run, stored)
        return
    news = {labels.OUTCOME: state.value}
    epoch = str(stored.status.epoch)
    if stored.status.epoch >= 0 and run.tags.get(labels.CURVATURE_EPOCH) != epoch:
        records = [_read(stored.trial, e).record for e in stored.epochs if e <= stored.config.epochs]
        run.upload(artifacts.CURVATURE, artifacts.curvature_json(records))
        news[labels.CURVATURE_EPOCH] = epoch
    if state is State.FAILED:
        news |= _upload_traceback(run, stored.attempt)
    else:
        run.remove_tags(labels.FAILURE, labels.FAILED_ATTEMPT)
    run.add_tags(news)
    run.set_status(_STATUS[state], stored.ended_ms)


def end_damaged(run: TrackedRun, damage: str, driver: bool) -> None:
    """Says on the run what keeps it from being shown; nothing is left running once no driver is at work."""
    run.add_tags({labels.DAMAGE: redacted(damage)[:500]})
    if not driver and run.status == "RUNNING":
        run.set_status("FAILED", run.started_ms)


def _read(trial: TrialStore, epoch: int) -> Commit:
    return whole(trial.trial_id, lambda: trial.read(epoch))


def _read_measured(trial: TrialStore, label: str, epoch: int) -> EpochRecord:
    return whole(trial.trial_id, lambda: trial.remeasurements.read(label, epoch).record)


def _ship(run: TrackedRun, batch: list[Commit], tags: dict[str, str], on_shipped: Callable[[int], None]) -> None:
    found = {labels.DATA_DIGEST: batch[-1].data_digest}
    if batch[0].record.epoch == 0:
        found[labels.ORIGIN] = str(batch[0].record.timestamp_ms)
    run.log([commit.record for commit in batch], {**tags, **found})
    on_shipped(len(batch))


def _go_on(run: TrackedRun) -> None:
    run.remove_tags(labels.OUTCOME, labels.FAILURE, labels.FAILED_ATTEMPT)
    run.set_status("RUNNING")


def _correct(run: TrackedRun, stored: Stored) -> None:
    """A run that a killed shipper left RUNNING, of a trial that has not begun."""
    if run.status == "RUNNING" and stored.status.state is State.PENDING:
        run.set_status("SCHEDULED")


def _upload_traceback(run: TrackedRun, attempt: Attempt | None) -> dict[str, str]:
    assert attempt is not None, "a trial fails by its attempt"
    if run.tags.get(labels.FAILED_ATTEMPT) == attempt.name:
        return {}
    run.upload(artifacts.TRACEBACK, redacted(attempt.reason))
    return {labels.FAILURE: failure_line(attempt.reason), labels.FAILED_ATTEMPT: attempt.name}

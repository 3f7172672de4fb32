"""Updates the MLflow run of one trial from the store."""

from collections.abc import Callable

from orchestrator.store.files.commit import Commit
from orchestrator.store.missing_quantities import missing_quantities
from orchestrator.store.provenance.redaction import failure_line, redacted
from orchestrator.store.trial import first_missing
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.tracking.runs import artifacts, labels
from orchestrator.tracking.runs.changes import StoredSweep
from orchestrator.tracking.runs.stored_trial import DamagedTrialError, StoredTrial, reading, unshipped_measurements
from orchestrator.tracking.runs.tracked_run import TrackedRun

RECORDS_PER_BATCH = 30
_STATUS = {
    State.COMPLETED: "FINISHED",
    State.DIVERGED: "FINISHED",  # divergence is a result, not a failure
    State.FAILED: "FAILED",
    State.INTERRUPTED: "KILLED",
}


def run_tags(stored: StoredSweep, config: TrialConfig) -> dict[str, str]:
    """Returns the tags of a trial's run. They describe the trial and its last attempt, or the driver before that."""
    trial = stored.trials.get(config.trial_id)
    attempt = trial.last_attempt if trial else None
    provenance, environment = (attempt.provenance, attempt.environment) if attempt else (stored.provenance, {})
    return labels.trial_tags(stored.sweep, config, provenance, environment)


def ship_records(run: TrackedRun, trial: StoredTrial, tags: dict[str, str], on_shipped: Callable[[int], None]) -> None:
    """Ships the committed records that the tracker lacks, then the cursor and `tags`.

    Raises:
        DamagedTrialError: if a record cannot be read; those before it are shipped.
    """
    # The cursor must not pass a record that was set aside and is being computed again.
    end = min(first_missing(list(trial.numbers)), trial.config.records + 1)
    missing = [number for number in trial.numbers if run.shipped_number < number < end]
    if trial.status.state is State.RUNNING or (missing and trial.outcome is None):
        run.remove_tags(labels.OUTCOME, labels.FAILURE, labels.FAILED_ATTEMPT)
        run.set_status("RUNNING")
    for start in range(0, len(missing), RECORDS_PER_BATCH):
        commits, damage = _read_until_damage(trial, missing[start : start + RECORDS_PER_BATCH])
        if commits:
            found = {labels.DATA_DIGEST: commits[-1].data_digest, labels.SHIPPED_RECORD: str(commits[-1].record.number)}
            if commits[0].record.number == 0:
                found[labels.ORIGIN] = str(commits[0].record.timestamp_ms)
            records = [commit.record for commit in commits]
            found |= labels.steps_per_epoch_tag(records)
            run.log_records(records, trial.config.cadence.position, {**tags, **found})
            on_shipped(len(commits))
        if damage:
            raise damage


def is_outdated(run: TrackedRun, trial: StoredTrial) -> bool:
    """Returns whether an ended trial's run shows times of records that were damaged and computed again since.

    Raises:
        DamagedTrialError: if a record cannot be read.
    """
    if trial.outcome is None:
        return False
    with reading(trial.store):
        damaged = [number for number in trial.store.once_damaged() if number <= run.shipped_number]
        return bool(damaged) and not run.has_times_of(
            [trial.store.read(number).record for number in damaged], trial.config.cadence.position
        )


def ship_measurements(run: TrackedRun, trial: StoredTrial, on_shipped: Callable[[int], None]) -> None:
    """Ships remeasurements label by label: first the samples, then the points and the label's tag.

    Raises:
        DamagedTrialError: if a measurement cannot be read.
    """
    with reading(trial.store):
        unshipped = unshipped_measurements(run.tags, trial.store, trial.config)
    for label, numbers in unshipped.items():
        with reading(trial.store):
            records = [trial.store.remeasurements.read(label, number).record for number in numbers]
        run.upload(artifacts.curvature_file(label), artifacts.curvature_json(records))
        tag = {f"{labels.MEASURED_AGAIN}{label}": labels.measured_tag(numbers)}
        run.log_records(records, trial.config.cadence.position, tag, f"{label}/")
        on_shipped(len(numbers))


def ship_outcome(run: TrackedRun, trial: StoredTrial) -> None:
    """Sets artifacts, outcome and status of an ended trial's run, in this order, so that a killed shipper can continue.

    Raises:
        DamagedTrialError: if a record cannot be read.
    """
    outcome = trial.outcome
    if outcome is None:
        if run.status == "RUNNING" and trial.status.state is State.PENDING:  # left by a killed shipper
            run.set_status("SCHEDULED")
        return
    tags = {labels.OUTCOME: outcome.value}
    if trial.status.number >= 0:
        tags |= _upload_vectors(run, trial)
    if outcome is State.FAILED:
        tags |= _upload_traceback(run, trial)
    else:
        run.remove_tags(labels.FAILURE, labels.FAILED_ATTEMPT)
    run.add_tags(tags)
    run.set_status(_STATUS[outcome], trial.ended_ms)


def show_damage(run: TrackedRun, damage: str, driver_active: bool) -> None:
    """Sets the tag that describes the damage. If no driver is active, a RUNNING run becomes FAILED."""
    run.add_tags({labels.DAMAGE: redacted(damage)[:500]})
    if not driver_active and run.status == "RUNNING":
        run.set_status("FAILED", run.started_ms)


def _read(trial: StoredTrial, number: int) -> Commit:
    with reading(trial.store):
        return trial.store.read(number)


def _read_until_damage(trial: StoredTrial, numbers: list[int]) -> tuple[list[Commit], DamagedTrialError | None]:
    commits: list[Commit] = []
    for number in numbers:
        try:
            commits.append(_read(trial, number))
        except DamagedTrialError as damage:
            return commits, damage
    return commits, None


def _upload_vectors(run: TrackedRun, trial: StoredTrial) -> dict[str, str]:
    """Uploads the raw samples and the tracebacks of quantities that raised. Returns the tags that describe both."""
    last = str(trial.status.number)
    if run.tags.get(labels.CURVATURE_RECORD) == last:
        return {}
    records = [_read(trial, number).record for number in trial.numbers if number <= trial.config.records]
    run.upload(artifacts.CURVATURE, artifacts.curvature_json(records))
    tags = {labels.CURVATURE_RECORD: last}
    if failed := missing_quantities(records):
        tracebacks = {name: text for record in records for name, text in record.failures.items()}
        run.upload(artifacts.MISSING_QUANTITIES, redacted("\n".join(tracebacks.values())))
        tags[labels.MISSING_QUANTITIES] = failed
    return tags


def _upload_traceback(run: TrackedRun, trial: StoredTrial) -> dict[str, str]:
    attempt = trial.last_attempt
    assert attempt is not None, "a failed trial has an attempt"
    files = {artifacts.TRACEBACK: redacted(attempt.reason)}
    version = run.upload_version(labels.FAILED_ATTEMPT, attempt.name, lambda: files)
    return {labels.FAILURE: failure_line(attempt.reason), **version}

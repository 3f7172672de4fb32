"""Updates the MLflow run of the sweep itself: manifest, example images, outcome, report."""

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking.address import absolute_uri, database_file
from orchestrator.tracking.client import connect, reason
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.runs import artifacts, labels
from orchestrator.tracking.runs.changes import StoredSweep
from orchestrator.tracking.runs.tracked_run import TrackedRun, find_runs

REPORT_FOLDER = "report"


def storage_id(storage: Storage, sweep: str) -> str:
    """Returns the id that distinguishes this storage's runs of a sweep from another's. Creates it if missing."""
    name = f"sweeps/{sweep}/storage-id"
    storage.files.create(name, secrets.token_hex(8).encode())
    return (storage.files.read(name) or b"").decode()


def describe_sweep(run: TrackedRun, storage: Storage, stored: StoredSweep) -> None:
    """Sets the run's name and tags, and uploads the manifest, patch, packages and user code."""
    manifest = redacted(stored.manifest.decode())
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    tags = run.upload_version(labels.MANIFEST_DIGEST, digest, lambda: {artifacts.MANIFEST: manifest})
    tags |= artifacts.upload_provenance(run, storage.files, stored.provenance)
    run.describe(stored.sweep.name, {**labels.sweep_tags(stored.sweep, stored.provenance), **tags}, {})


def ship_gallery(run: TrackedRun, storage: Storage, sweep: str) -> None:
    """Uploads the example images of the data set once the store has them."""
    if labels.GALLERY_DIGEST not in run.tags and (gallery := storage.sweep(sweep).gallery()):
        content = gallery.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files = {artifacts.GALLERY: content.decode()}
        run.add_tags(run.upload_version(labels.GALLERY_DIGEST, digest, lambda: files))


def ship_sweep_outcome(
    run: TrackedRun, states: Iterable[State], trial_runs: Iterable[TrackedRun], driver_active: bool
) -> None:
    """Sets the status of the sweep's run: RUNNING while a driver is active, then derived from its trials' states."""
    if driver_active:
        run.remove_tags(labels.OUTCOME)
        run.set_status("RUNNING")
        return
    states = set(states)
    if State.FAILED in states:
        outcome, status = State.FAILED, "FAILED"
    elif any(not state.final for state in states):
        outcome, status = State.INTERRUPTED, "KILLED"
    else:
        outcome, status = State.COMPLETED, "FINISHED"
    ends = (each.ended_ms for each in trial_runs if each.ended_ms is not None)
    run.add_tags({labels.OUTCOME: outcome.value})
    run.set_status(status, max(ends, default=run.started_ms))


def log_report(storage: Storage, sweep: str, tracking_uri: str, folder: Path, expectations: str = "") -> str:
    """Uploads the files of a report to the sweep's run and replaces an older report. Returns a line for the user.

    The run also gets a tag with the outcome of the expectations, if there are any.

    If the tracker is unreachable or lacks the sweep, the line says so. The report stays in its folder in any case.

    Raises:
        ValueError: if MLflow does not support this URI.
    """
    uri = absolute_uri(tracking_uri)
    ship = ship_command(storage.root, sweep, tracking_uri)
    file = database_file(uri)
    if file and not file.exists():
        return f"not in MLflow: the sweep is not shipped; ship it first: {ship}"
    try:
        client = connect(uri)
        experiment = client.get_experiment_by_name(sweep)
        runs = find_runs(client, experiment.experiment_id) if experiment else ()
        ours = {labels.KIND: "sweep", labels.STORAGE_ID: storage_id(storage, sweep)}
        run = next((each for each in runs if ours.items() <= each.tags.items()), None)
        if run is None:
            return f"not in MLflow: it has no run of the sweep; ship it first: {ship}"
        client.log_artifacts(run.run_id, str(folder), REPORT_FOLDER)
        if expectations:
            client.set_tag(run.run_id, labels.EXPECTATIONS, expectations)
    except ModuleNotFoundError as error:
        return f"not in MLflow: {error}"
    except Exception as error:  # MLflow raises errors of many types
        return f"not in MLflow: {reason(error, uri)}"
    return f"in MLflow: artifact {REPORT_FOLDER}/ of run {run.name or run.run_id}"

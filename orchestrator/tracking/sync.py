"""A sweep as one tracker shows it: found or made at the start, then brought up to the store round by round."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.config import TrialConfig
from orchestrator.tracking import artifacts, labels, trial_run
from orchestrator.tracking.address import artifact_folder, database_file
from orchestrator.tracking.changes import Watch
from orchestrator.tracking.provenance_artifacts import show_attempts, show_provenance
from orchestrator.tracking.stored_trial import DamagedTrialError, whole
from orchestrator.tracking.tracked_run import TrackedRun, create_run, find_runs, open_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHECK_SECONDS = 10.0
"""How often a tracker to which there is nothing to say is asked whether it still has the sweep's run."""


class TrackerLostRunsError(RuntimeError):
    """The tracker no longer has what it had: it was emptied, or replaced by another."""


class Mirror:
    """The experiment and the runs of one sweep at one tracker. Anything the tracker refuses is raised."""

    def __init__(self, storage: Storage, watch: Watch, client: "MlflowClient", uri: str) -> None:
        self._storage = storage
        self._watch = watch
        self._client = client
        self._uri = uri
        self._name = watch.sweep.name
        self._storage_id = storage_id(storage, self._name)
        self._runs: dict[str, TrackedRun] = {}
        self._due: set[str] = set()
        self._database: tuple[int, int] | None = None
        self._checked_at = 0.0
        self.made_runs = False
        """Whether runs were made, rather than all of them found."""
        self.interrupted = False
        """Whether the last round found trials that have begun, are not at their end, and have no driver."""

    def open(self, say: Callable[[str], None]) -> None:
        """Finds the sweep's runs, and makes those that are missing: one for the sweep, one for each trial.

        The watch has looked at the store before.
        """
        sweep = self._watch.sweep
        self._experiment_id = open_experiment(self._client, sweep, artifact_folder(self._uri, self._storage.root))
        self._database = self._identity()
        found = list(find_runs(self._client, self._experiment_id))
        ours: dict[str, list[TrackedRun]] = {}
        foreign = False
        for run in found:
            trial_id = run.tags.get(labels.TRIAL_ID, "")
            if self._is_ours(run):
                ours.setdefault(trial_id, []).append(run)
            else:
                foreign |= trial_id in sweep.by_id
        if foreign:
            say(f"experiment {self._name!r} also holds runs of another storage; they stay as they are")
        # MLflow lists the newest first and shows the curves of ten: the sweep's run, which has none, is the oldest.
        self._sweep_run = self._open_sweep_run(r for r in ours.get("", ()) if r.tags.get(labels.KIND) == "sweep")
        self._runs = {
            trial_id: self._open_trial_run(config, ours.get(trial_id, ()))
            for trial_id, config in reversed(sweep.by_id.items())
        }
        self._due = set(self._runs)
        self._checked_at = time.monotonic()

    @property
    def run_count(self) -> int:
        """The trials' runs and the sweep's own."""
        return len(self._runs) + 1

    def shipped(self) -> dict[str, int]:
        """The last epoch the tracker has, by trial id."""
        return {trial_id: run.shipped_epoch for trial_id, run in self._runs.items()}

    def measured(self) -> dict[str, dict[str, str]]:
        """The tags that say what the tracker has, by trial id."""
        return {trial_id: run.tags for trial_id, run in self._runs.items()}

    def update(
        self,
        changed: set[str],
        driver: bool,
        on_shipped: Callable[[int], None],
        on_measured: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Ships what is stored and not yet shown, then the ends of trials.

        Args:
            changed: the trials of which something new is stored since the last round.
            driver: whether a driver is at work on the sweep; where none is, what is not final was interrupted.
            on_shipped: told how many epochs the tracker just took.
            on_measured: told how many epochs it just took that were measured again.

        Raises:
            TrackerLostRunsError: where the tracker was emptied or replaced.
        """
        self._check()
        self._due |= changed
        due = [trial_id for trial_id in self._watch.sweep.by_id if trial_id in self._due]
        for trial_id in due:
            self._unless_damaged(trial_id, lambda t=trial_id: self._ship_epochs(t, on_shipped))  # type: ignore[misc]
        for trial_id in due:
            self._unless_damaged(trial_id, lambda t=trial_id: self._ship_measurements(t, on_measured))  # type: ignore[misc]
        for trial_id in due:
            self._unless_damaged(trial_id, lambda t=trial_id: self._end(t))  # type: ignore[misc]
            if damage := self._watch.damaged.get(trial_id):
                trial_run.end_damaged(self._runs[trial_id], damage, driver)
            self._due.discard(trial_id)
        self.interrupted = not driver and any(
            stored.begun and not stored.status.state.final and stored.status.state is not State.FAILED
            for stored in self._watch.stored.values()
        )
        self._update_sweep_run(driver)

    def _unless_damaged(self, trial_id: str, do: Callable[[], None]) -> None:
        if trial_id in self._watch.damaged or trial_id not in self._watch.stored:
            return
        try:
            do()
        except DamagedTrialError as error:
            self._watch.note_damage(trial_id, error)

    def _ship_epochs(self, trial_id: str, on_shipped: Callable[[int], None]) -> None:
        stored = self._watch.stored[trial_id]
        tags = trial_run.tags_of(self._watch.sweep, stored.config, stored.attempt, self._watch.provenance)
        trial_run.ship_epochs(self._runs[trial_id], stored, tags, on_shipped)

    def _ship_measurements(self, trial_id: str, on_measured: Callable[[int], None]) -> None:
        stored = self._watch.stored[trial_id]
        trial_run.ship_measurements(self._runs[trial_id], stored.trial, stored.config, on_measured)

    def _end(self, trial_id: str) -> None:
        run, stored = self._runs[trial_id], self._watch.stored[trial_id]
        if stored.attempt:
            show_provenance(run, self._storage.files, stored.attempt.provenance, self._watch.provenance)
        show_attempts(run, stored.attempts)
        trial_run.end(run, stored)
        run.remove_tags(labels.DAMAGE)

    def _check(self) -> None:
        """Whether the tracker is still the one whose runs were found."""
        if self._identity() != self._database:
            raise TrackerLostRunsError("the file of its database was deleted or replaced")
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            run = self._client.get_run(self._sweep_run.run_id)
            if run.info.lifecycle_stage != "active":
                raise TrackerLostRunsError("the sweep's run was deleted")
            self._checked_at = time.monotonic()

    def _identity(self) -> tuple[int, int] | None:
        """Which file a SQLite database is: what is written to a deleted one is lost without an error."""
        file = database_file(self._uri)
        if file is None:
            return None
        try:
            found = file.stat()
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _is_ours(self, run: TrackedRun) -> bool:
        """Whether a run shows this storage: by its epoch 0 where it has one, else by who made it."""
        trial_id = run.tags.get(labels.TRIAL_ID, "")
        if (origin := run.tags.get(labels.ORIGIN)) and trial_id not in self._watch.damaged:
            try:
                return origin == whole(trial_id, lambda: trial_run.origin(self._storage.trial(trial_id)))
            except DamagedTrialError as error:
                self._watch.note_damage(trial_id, error)
        return run.tags.get(labels.STORAGE_ID) == self._storage_id

    def _open_trial_run(self, config: TrialConfig, found: Iterable[TrackedRun]) -> TrackedRun:
        sweep, provenance = self._watch.sweep, self._watch.provenance
        stored = self._watch.stored.get(config.trial_id)
        attempt = stored.attempt if stored else None
        run = self._one_of(found)
        if run is None:
            tags = trial_run.tags_of(sweep, config, attempt, provenance)
            run = self._make_run(labels.trial_name(sweep, config), tags, trial_run.started_ms(stored))
        trial_run.describe(run, sweep, config, attempt, provenance)
        return run

    def _open_sweep_run(self, found: Iterable[TrackedRun]) -> TrackedRun:
        sweep = self._watch.sweep
        tags = labels.sweep_tags(sweep, self._watch.provenance)
        run = self._one_of(found)
        if run is None:
            starts = [trial_run.started_ms(self._watch.stored.get(trial_id)) for trial_id in sweep.by_id]
            run = self._make_run(self._name, tags, min(starts) - 1)
        content = redacted(self._watch.manifest.decode())
        digest = hashlib.sha256(content.encode()).hexdigest()
        if run.tags.get(labels.MANIFEST_DIGEST) != digest:
            run.upload(artifacts.MANIFEST, content)
        show_provenance(run, self._storage.files, self._watch.provenance, None)
        run.describe(self._name, {**tags, labels.MANIFEST_DIGEST: digest}, {})
        return run

    def _make_run(self, name: str, tags: dict[str, str], started_ms: int) -> TrackedRun:
        self.made_runs = True
        tags = {**tags, labels.STORAGE_ID: self._storage_id}
        return create_run(self._client, self._experiment_id, name, tags, started_ms)

    def _one_of(self, found: Iterable[TrackedRun]) -> TrackedRun | None:
        """The run that is furthest. A request that timed out and was carried out all the same has made a second one."""
        ranked = sorted(found, key=lambda run: (-run.shipped_epoch, run.started_ms, run.run_id))
        for duplicate in ranked[1:]:
            self._client.delete_run(duplicate.run_id)
        return ranked[0] if ranked else None

    def _show_gallery(self) -> None:
        if labels.GALLERY_DIGEST in self._sweep_run.tags:
            return
        if gallery := self._storage.sweep(self._name).gallery():
            content = gallery.to_bytes()
            self._sweep_run.upload(artifacts.GALLERY, content.decode())
            self._sweep_run.add_tags({labels.GALLERY_DIGEST: hashlib.sha256(content).hexdigest()})

    def _update_sweep_run(self, driver: bool) -> None:
        self._show_gallery()
        if driver:
            self._sweep_run.remove_tags(labels.OUTCOME)
            self._sweep_run.set_status("RUNNING")
            return
        states = {self._state(trial_id) for trial_id in self._runs}
        unfinished = any(not state.final for state in states)
        outcome = State.FAILED if State.FAILED in states else State.INTERRUPTED if unfinished else State.COMPLETED
        status = {State.FAILED: "FAILED", State.INTERRUPTED: "KILLED", State.COMPLETED: "FINISHED"}[outcome]
        ends = [run.ended_ms for run in self._runs.values() if run.ended_ms is not None]
        self._sweep_run.add_tags({labels.OUTCOME: outcome.value})
        self._sweep_run.set_status(status, max(ends, default=self._sweep_run.started_ms))

    def _state(self, trial_id: str) -> State:
        stored = self._watch.stored.get(trial_id)
        return State.INTERRUPTED if stored is None or trial_id in self._watch.damaged else stored.status.state


def storage_id(storage: Storage, sweep: str) -> str:
    """Tells the runs of this storage from those of another that ships the same sweep to the same tracker."""
    name = f"sweeps/{sweep}/storage-id"
    storage.files.create(name, secrets.token_hex(8).encode())
    return (storage.files.read(name) or b"").decode()

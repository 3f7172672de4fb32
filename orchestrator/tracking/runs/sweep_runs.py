"""Looks up the experiment and the runs of a sweep in a tracker by their tags, and creates missing ones."""

import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from orchestrator.store.storage import Storage
from orchestrator.study.config import TrialConfig
from orchestrator.tracking.address import artifact_folder, database_file
from orchestrator.tracking.client import connect
from orchestrator.tracking.runs import artifacts, labels
from orchestrator.tracking.runs.changes import StoredSweep
from orchestrator.tracking.runs.logged_models import delete_models
from orchestrator.tracking.runs.run_names import run_names
from orchestrator.tracking.runs.stored_trial import DamagedTrialError, origin, started_ms
from orchestrator.tracking.runs.sweep_run import describe_sweep, storage_id
from orchestrator.tracking.runs.tracked_run import TrackedRun, create_run, find_runs, open_experiment
from orchestrator.tracking.runs.trial_run import run_tags

log = logging.getLogger(__name__)

CHECK_SECONDS = 10.0  # interval between checks that the tracker still has the sweep's run


class TrackerLostRunsError(RuntimeError):
    """Runs have disappeared from the tracker, because it was emptied or replaced."""


class SweepRuns:
    """The sweep's run and one run per trial. The constructor looks them up and creates missing ones."""

    def __init__(self, storage: Storage, stored: StoredSweep, uri: str) -> None:
        self.created = False  # whether any run was missing
        self.other_storage = False  # whether the experiment also has runs of another storage
        self._storage = storage
        self._stored = stored
        self._uri = uri
        self._names = run_names(stored.sweep)
        self._storage_id = storage_id(storage, stored.sweep.name)
        self._client = connect(uri)
        self._experiment_id = open_experiment(self._client, stored.sweep, artifact_folder(uri, storage.root))
        self._database = self._database_identity()
        ours = self._find()
        self._forget_lost_artifacts(ours)
        # MLflow shows the curves of the ten newest runs. The sweep's run has no curves, so it must be the oldest.
        self.sweep = self._open_sweep([run for run in ours[""] if run.tags.get(labels.KIND) == "sweep"])
        trials = reversed(stored.sweep.by_id.items())
        self.trials = {trial_id: self._open_trial(config, ours[trial_id]) for trial_id, config in trials}
        self._checked_at = time.monotonic()

    def check(self) -> None:
        """Checks that the tracker still has the runs.

        Raises:
            TrackerLostRunsError: if the tracker was emptied or replaced.
        """
        if self._database_identity() != self._database:
            raise TrackerLostRunsError("the file of its database was deleted or replaced")
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            if self._client.get_run(self.sweep.run_id).info.lifecycle_stage != "active":
                raise TrackerLostRunsError("the sweep's run was deleted")
            self._checked_at = time.monotonic()

    def replace(self, config: TrialConfig) -> TrackedRun:
        """Deletes a trial's run and returns a new one, because MLflow cannot change points."""
        self._delete(self.trials[config.trial_id])
        self.trials[config.trial_id] = self._open_trial(config, ())
        return self.trials[config.trial_id]

    def _database_identity(self) -> tuple[int, int] | None:
        """Returns device and inode of a SQLite file. Writes to a deleted file would be lost without an error."""
        file = database_file(self._uri)
        if file is None:
            return None
        try:
            found = file.stat()
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _find(self) -> dict[str, list[TrackedRun]]:
        """Returns this storage's runs by trial id. Runs that belong to no trial have the key ``""``."""
        ours: dict[str, list[TrackedRun]] = defaultdict(list)
        for run in find_runs(self._client, self._experiment_id):
            trial_id = run.tags.get(labels.TRIAL_ID, "")
            if self._is_ours(run, trial_id):
                ours[trial_id].append(run)
            else:
                self.other_storage |= trial_id in self._stored.sweep.by_id
        return ours

    def _forget_lost_artifacts(self, ours: dict[str, list[TrackedRun]]) -> None:
        """Has all artifacts uploaded again if the artifact of the sweep's manifest is missing.

        Checking every run would take a request each. MLflow lists the newest runs first, so the sweep's run loses its
        tag last. If this process is killed before, the next one finds the tag and repeats the removal.
        """
        if any(labels.MANIFEST_DIGEST in run.tags and run.lacks(artifacts.MANIFEST) for run in ours[""]):
            log.info("the tracker has lost the artifacts of sweep %s; they are uploaded again", self._stored.sweep.name)
            for run in itertools.chain(*ours.values()):
                artifacts.forget(run)

    def _is_ours(self, run: TrackedRun, trial_id: str) -> bool:
        """Returns whether a run belongs to this storage, by the end of record 0 if known, else by the storage id."""
        if (shown := run.tags.get(labels.ORIGIN)) and trial_id not in self._stored.damaged:
            try:
                return shown == origin(self._storage.trial(trial_id))
            except DamagedTrialError as error:
                self._stored.mark_damaged(trial_id, error)
        return run.tags.get(labels.STORAGE_ID) == self._storage_id

    def _open_trial(self, config: TrialConfig, found: Sequence[TrackedRun]) -> TrackedRun:
        name, tags = self._names[config.trial_id], run_tags(self._stored, config)
        run = self._furthest(found)
        if run is None:
            run = self._create(name, tags, started_ms(self._stored.trials.get(config.trial_id)))
        run.describe(name, tags, labels.trial_params(config))
        return run

    def _open_sweep(self, found: Sequence[TrackedRun]) -> TrackedRun:
        run = self._furthest(found)
        if run is None:
            sweep = self._stored.sweep
            first = min(started_ms(self._stored.trials.get(trial_id)) for trial_id in sweep.by_id)
            run = self._create(sweep.name, labels.sweep_tags(sweep, self._stored.provenance), first - 1)
        describe_sweep(run, self._storage, self._stored)
        return run

    def _create(self, name: str, tags: dict[str, str], started: int) -> TrackedRun:
        self.created = True
        return create_run(
            self._client, self._experiment_id, name, {**tags, labels.STORAGE_ID: self._storage_id}, started
        )

    def _delete(self, run: TrackedRun) -> None:
        delete_models(run)
        self._client.delete_run(run.run_id)

    def _furthest(self, found: Sequence[TrackedRun]) -> TrackedRun | None:
        """Returns the run with the most records. Deletes duplicates, which can result from repeated create requests."""
        ranked = sorted(found, key=lambda run: (-run.shipped_number, run.started_ms, run.run_id))
        for duplicate in ranked[1:]:
            self._delete(duplicate)
        return ranked[0] if ranked else None

"""A sweep as one tracker shows it: found or made at the start, then brought up to the store round by round."""

import hashlib
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from orchestrator.store.layout import Storage
from orchestrator.store.provenance import redacted
from orchestrator.store.state import State
from orchestrator.study.config import TrialConfig
from orchestrator.tracking import artifacts, labels, trial_run
from orchestrator.tracking.address import artifact_folder
from orchestrator.tracking.runs import TrackedRun, create_run, find_runs, open_experiment
from orchestrator.tracking.trial_run import Stored, read_stored

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Mirror:
    """The experiment and the runs of one sweep at one tracker. Anything the tracker refuses is raised."""

    def __init__(self, storage: Storage, sweep: str, client: "MlflowClient", uri: str) -> None:
        self._storage = storage
        self._name = sweep
        self._client = client
        self._uri = uri
        self._storage_id = storage_id(storage, sweep)
        self._manifest = b""
        self._settled: set[str] = set()
        self._runs: dict[str, TrackedRun] = {}
        self.interrupted = False
        """Whether the last round found trials that have begun, are not at their end, and have no driver."""

    def open(self, say: Callable[[str], None]) -> None:
        """Finds the sweep's runs, and makes those that are missing: one for the sweep, one for each trial."""
        self._manifest = self._stored_manifest()
        self._settled.clear()
        self._sweep, self._provenance = self._storage.sweep(self._name).read_manifest()
        self._experiment_id = open_experiment(self._client, self._sweep, artifact_folder(self._uri, self._storage.root))
        found = list(find_runs(self._client, self._experiment_id))
        foreign = [run for run in found if not self._is_ours(run)]
        if any(run.tags.get(labels.TRIAL_ID) in self._sweep.by_id for run in foreign):
            say(f"experiment {self._name!r} also holds runs of another storage; they stay as they are")
        ours = [run for run in found if run not in foreign]
        # MLflow lists the newest first and shows the curves of ten: the sweep's run, which has none, is the oldest.
        self._sweep_run = self._open_sweep_run(run for run in ours if run.tags.get(labels.KIND) == "sweep")
        self._runs = {
            trial_id: self._open_trial_run(config, (run for run in ours if run.tags.get(labels.TRIAL_ID) == trial_id))
            for trial_id, config in reversed(self._sweep.by_id.items())
        }

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
        driver_since: float | None,
        say: Callable[[str], None],
        on_shipped: Callable[[int], None],
        on_measured: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Ships what is stored and not yet shown, then the ends of trials.

        Args:
            driver_since: when the driver now at work took its lease; None where none is, and what is not final by now
                was interrupted.
            say: told what a person should know.
            on_shipped: told how many epochs the tracker just took.
            on_measured: told how many epochs it just took that were measured again.
        """
        if self._stored_manifest() != self._manifest:
            self.open(say)
        stored = {
            trial_id: read_stored(self._storage.trial(trial_id), config, driver_since)
            for trial_id, config in self._sweep.by_id.items()
            if trial_id not in self._settled
        }
        for trial_id, trial in stored.items():
            tags = trial_run.tags_of(self._sweep, trial.config, trial.attempt, self._provenance)
            trial_run.ship_epochs(self._runs[trial_id], trial, tags, on_shipped)
        for trial_id, config in self._sweep.by_id.items():  # the settled ones too: measured again at any time
            trial_run.ship_measurements(self._runs[trial_id], self._storage.trial(trial_id), config, on_measured)
        for trial_id, trial in stored.items():
            trial_run.end(self._runs[trial_id], trial)
            if trial.standing.state.final:
                self._settled.add(trial_id)
        self.interrupted = any(trial.ending is State.INTERRUPTED for trial in stored.values())
        self._update_sweep_run(stored, driver_since is not None)

    def _is_ours(self, run: TrackedRun) -> bool:
        """Whether a run shows this storage: by its epoch 0 where it has one, else by who made it."""
        if origin := run.tags.get(labels.ORIGIN):
            return origin == trial_run.origin(self._storage.trial(run.tags[labels.TRIAL_ID]))
        return run.tags.get(labels.STORAGE_ID) == self._storage_id

    def _open_trial_run(self, config: TrialConfig, found: Iterable[TrackedRun]) -> TrackedRun:
        trial = self._storage.trial(config.trial_id)
        attempt = trial_run.last_attempt(trial)
        run = self._one_of(found)
        if run is None:
            run = create_run(
                self._client,
                self._experiment_id,
                labels.trial_name(self._sweep, config),
                {
                    **trial_run.tags_of(self._sweep, config, attempt, self._provenance),
                    labels.STORAGE_ID: self._storage_id,
                },
                trial_run.started_ms(trial),
            )
        trial_run.describe(run, self._sweep, config, attempt, self._provenance)
        return run

    def _open_sweep_run(self, found: Iterable[TrackedRun]) -> TrackedRun:
        tags = {**labels.sweep_tags(self._sweep, self._provenance), labels.STORAGE_ID: self._storage_id}
        run = self._one_of(found)
        if run is None:
            starts = [trial_run.started_ms(self._storage.trial(trial_id)) for trial_id in self._sweep.by_id]
            run = create_run(self._client, self._experiment_id, self._name, tags, min(starts) - 1)
        content = redacted(self._manifest.decode())
        digest = hashlib.sha256(content.encode()).hexdigest()
        if run.tags.get(labels.MANIFEST_DIGEST) != digest:
            run.upload(artifacts.MANIFEST, content)
        run.describe(self._name, {**tags, labels.MANIFEST_DIGEST: digest}, {})
        return run

    def _one_of(self, found: Iterable[TrackedRun]) -> TrackedRun | None:
        """The run that is furthest. A request that timed out and was carried out all the same has made a second one."""
        ranked = sorted(found, key=lambda run: (-run.shipped_epoch, run.started_ms, run.run_id))
        for duplicate in ranked[1:]:
            self._client.delete_run(duplicate.run_id)
        return ranked[0] if ranked else None

    def _update_sweep_run(self, stored: dict[str, Stored], driver: bool) -> None:
        if driver:
            self._sweep_run.remove_tags(labels.OUTCOME)
            self._sweep_run.set_status("RUNNING")
            return
        states = {trial.standing.state for trial in stored.values() if not trial.standing.state.final}
        outcome = State.FAILED if State.FAILED in states else State.INTERRUPTED if states else State.COMPLETED
        status = {State.FAILED: "FAILED", State.INTERRUPTED: "KILLED", State.COMPLETED: "FINISHED"}[outcome]
        ends = [run.ended_ms for run in self._runs.values() if run.ended_ms is not None]
        self._sweep_run.add_tags({labels.OUTCOME: outcome.value})
        self._sweep_run.set_status(status, max(ends, default=self._sweep_run.started_ms))

    def _stored_manifest(self) -> bytes:
        return self._storage.files.read(f"sweeps/{self._name}/manifest.json") or b""


def storage_id(storage: Storage, sweep: str) -> str:
    """Tells the runs of this storage from those of another that ships the same sweep to the same tracker."""
    name = f"sweeps/{sweep}/storage-id"
    storage.files.create(name, secrets.token_hex(8).encode())
    return (storage.files.read(name) or b"").decode()

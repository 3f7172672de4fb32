"""Ships one sweep from the store to one tracker, round by round.

A round is idempotent. Runs are looked up by tags before any is created, each point has the timestamp of its record, and
a tag of each run holds the last shipped record.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.counted import counted
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.lease import Holder
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.tracking.client import missing_resource, reason, refused, unanswered
from orchestrator.tracking.policy import RoundOutcome
from orchestrator.tracking.runs import artifacts, labels, trial_run
from orchestrator.tracking.runs.changes import StoredSweep
from orchestrator.tracking.runs.data_input import ship_data
from orchestrator.tracking.runs.logged_models import ship_models
from orchestrator.tracking.runs.spectra import ship_spectra
from orchestrator.tracking.runs.stored_trial import DamagedTrialError, StoredTrial
from orchestrator.tracking.runs.sweep_run import ship_gallery, ship_sweep_outcome
from orchestrator.tracking.runs.sweep_runs import SweepRuns, TrackerLostRunsError
from orchestrator.tracking.runs.tracked_run import TrackedRun

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Amount:
    """A number of records and of measurements from checkpoints."""

    records: int = 0
    measurements: int = 0
    unit: str = field(default="epoch", compare=False)
    """The noun for a record."""

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.records + other.records, self.measurements + other.measurements, self.unit)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.records - other.records, self.measurements - other.measurements, self.unit)

    def __str__(self) -> str:
        records = counted(self.records, self.unit)
        if not self.measurements:
            return records
        measurements = f"{counted(self.measurements, 'measurement')} from checkpoints"
        return f"{records} and {measurements}" if self.records else measurements


class SweepSync:
    """Ships one sweep to the tracker at an absolute URI. Remembers the state of tracker and store between rounds.

    With `follow`, further results are expected as long as a driver is active. `on_progress` is called once the runs
    exist and after each shipped batch.
    """

    def __init__(
        self, storage: Storage, name: str, uri: str, follow: bool, on_progress: Callable[[], None] = lambda: None
    ) -> None:
        self.stored = StoredSweep(storage, name)
        self.runs: SweepRuns | None = None  # as last looked up
        self.shipped = Amount(unit=self.stored.sweep.unit)
        self.driver: Holder | None = None  # at the last round
        self._storage = storage
        self._name = name
        self._uri = uri
        self._follow = follow
        self._on_progress = on_progress
        self._looked_up = False
        self._created_runs = False
        self._due: set[str] = set()

    def sync_once(self) -> RoundOutcome:
        """Ships everything stored that the tracker lacks. Never raises; the outcome describes a failure."""
        from orchestrator.tracking.retry_after import seconds_to_wait

        try:
            read_seconds = self._round()
        except Exception as error:  # a failing tracker must stop neither shipping nor training
            log.debug("a round failed", exc_info=True)
            self.reset()
            follows = self._follow and self.driver is not None
            return RoundOutcome(self._describe(error), unanswered(error, self._uri), seconds_to_wait(), follows)
        follows = self._follow and self.driver is not None
        interrupted = self._follow and any(trial.outcome is State.INTERRUPTED for trial in self.stored.trials.values())
        return RoundOutcome(
            follows_driver=follows,
            interrupted=interrupted,
            created_runs=self._created_runs,
            read_seconds=read_seconds,
        )

    def reset(self) -> None:
        """Makes the next round look up the runs again: the tracker may have lost runs or have one twice."""
        self._looked_up = False
        self._created_runs = False

    def pending(self) -> Amount:
        """Returns what the tracker lacks. Measurements are not counted if the store cannot be read."""
        tags = {trial_id: run.tags for trial_id, run in self._trial_runs().items()}
        try:
            return self.pending_records() + Amount(measurements=self.stored.pending_measurements(tags))
        except OSError:
            return self.pending_records()

    def pending_records(self) -> Amount:
        """Returns the number of records that the tracker lacks, without measurements from checkpoints."""
        shipped = {trial_id: run.shipped_number for trial_id, run in self._trial_runs().items()}
        return Amount(self.stored.pending_records(shipped), unit=self.stored.sweep.unit)

    def _trial_runs(self) -> dict[str, TrackedRun]:
        return self.runs.trials if self.runs else {}

    def _round(self) -> float:
        """Runs one round. Returns the seconds that reading the store took."""
        # The lease is read before the store, so that this round sees everything a driver wrote before it ended.
        self.driver = self._storage.sweep(self._name).driver_lease.holder()
        began = time.monotonic()
        manifest_changed = self.stored.read_manifest()
        since = self.driver.since if self.driver else None
        self._due |= self.stored.read_changed(since, thorough=not (self._follow and self.driver))
        read_seconds = time.monotonic() - began
        if manifest_changed or not self._looked_up or self.runs is None:
            self.runs = SweepRuns(self._storage, self.stored, self._uri)
            self._created_runs |= self.runs.created
            self._due = set(self.runs.trials)
            self._looked_up = True
            self._on_progress()
        self.runs.check()
        self._ship_due_trials(self.runs)
        ship_gallery(self.runs.sweep, self._storage, self._name)
        states = map(self._state, self.runs.trials)
        ship_sweep_outcome(self.runs.sweep, states, self.runs.trials.values(), self.driver is not None)
        self.stored.read_manifest()  # raises if the storage is unreachable, which can look like damage
        return read_seconds

    def _ship_due_trials(self, runs: SweepRuns) -> None:
        due = [trial_id for trial_id in self.stored.sweep.by_id if trial_id in self._due]
        for trial_id in due:  # the curves of all trials come before their files
            self._unless_damaged(runs, trial_id, self._ship_records)
            self._unless_damaged(runs, trial_id, self._replace_outdated)
        for trial_id in due:
            self._unless_damaged(runs, trial_id, self._ship_rest)
            if damage := self.stored.damaged.get(trial_id):
                trial_run.show_damage(runs.trials[trial_id], damage, self.driver is not None)
            self._due.discard(trial_id)

    def _unless_damaged(self, runs: SweepRuns, trial_id: str, ship: Callable[[TrackedRun, StoredTrial], None]) -> None:
        trial = self.stored.trials.get(trial_id)
        if trial is None or trial_id in self.stored.damaged:
            return
        try:
            ship(runs.trials[trial_id], trial)
        except DamagedTrialError as error:
            self.stored.mark_damaged(trial_id, error)

    def _ship_records(self, run: TrackedRun, trial: StoredTrial) -> None:
        tags = trial_run.run_tags(self.stored, trial.config)
        trial_run.ship_records(run, trial, tags, lambda count: self._count(Amount(records=count)))

    def _replace_outdated(self, run: TrackedRun, trial: StoredTrial) -> None:
        assert self.runs is not None
        if trial_run.is_outdated(run, trial):
            log.info("trial %s: records were computed again after damage; its run is replaced", trial.config.trial_id)
            self._ship_records(self.runs.replace(trial.config), trial)

    def _ship_rest(self, run: TrackedRun, trial: StoredTrial) -> None:
        trial_run.ship_measurements(run, trial, lambda count: self._count(Amount(measurements=count)))
        tags = artifacts.upload_attempts(run, trial.attempts)
        if trial.last_attempt:
            provenance = trial.last_attempt.provenance
            tags |= artifacts.upload_provenance(run, self._storage.files, provenance, self.stored.provenance)
        run.add_tags(tags)
        ship_data(run, trial, self.stored.sweep)
        ship_spectra(run, trial)
        trial_run.ship_outcome(run, trial)
        ship_models(run, trial, self.stored.sweep)
        run.remove_tags(labels.DAMAGE)

    def _count(self, sent: Amount) -> None:
        self.shipped += sent
        self._on_progress()

    def _state(self, trial_id: str) -> State:
        trial = self.stored.trials.get(trial_id)
        return State.INTERRUPTED if trial is None or trial_id in self.stored.damaged else trial.status.state

    def _describe(self, error: Exception) -> str:
        """Returns what failed and why. Storage errors, such as a full disk, are not attributed to the tracker."""
        file, why = str(getattr(error, "filename", "") or ""), reason(error, self._uri)
        if isinstance(error, StorageError) or file.startswith(str(self._storage.root)):
            return f"storage {str(self._storage.root)!r} cannot be used ({why})"
        if isinstance(error, TrackerLostRunsError) or missing_resource(error):
            return f"tracker {redacted(self._uri)} has lost runs of sweep {self._name} ({why}); they are created again"
        return f"tracker {redacted(self._uri)} {'refuses' if refused(error) else 'cannot be reached'} ({why})"

"""Finds the trials that changed in the store since the last round, without reading unchanged ones."""

import os
import time
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path

from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import manifest_content
from orchestrator.study.config import TrialConfig
from orchestrator.tracking.runs.stored_trial import DamagedTrialError, StoredTrial, read_trial, unshipped_measurements

ENDED_TRIALS_SECONDS = 10.0  # interval between checks of ended trials, which only `measure` still changes
TIMESTAMP_SECONDS = 2.0  # coarsest timestamp resolution: two changes within this time may look like one
_Stamp = tuple[object, ...]


class StoredSweep:
    """Snapshot of a sweep in the store. An unreadable trial does not prevent reading the others."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._file = f"sweeps/{name}/manifest.json"
        self._manifest_stamp: _Stamp | None = None
        self._stamps: dict[str, _Stamp] = {}
        self._ended: set[str] = set()
        self._ended_checked_at = 0.0
        self._driver_since: float | None = None
        self.manifest = b""
        self.trials: dict[str, StoredTrial] = {}  # by trial id; a damaged trial keeps its last intact snapshot
        self.damaged: dict[str, str] = {}  # error message by trial id
        self.read_manifest()

    def read_manifest(self) -> bool:
        """Reads the sweep's manifest if it changed. Returns whether its content differs.

        Raises:
            StorageError: if the manifest cannot be read.
        """
        stamp = _stamp(self._storage, self._file)
        if stamp == self._manifest_stamp:
            return False
        content = self._storage.files.read(self._file)
        if content is None:
            raise StorageError(f"the manifest {self._storage.root / self._file} does not exist; check --storage")
        self._manifest_stamp = stamp
        if content == self.manifest:
            return False
        self.sweep, self.provenance = manifest_content(content)
        self.manifest = content
        self._stamps.clear()
        self._ended.clear()
        self.trials.clear()
        return True

    def read_changed(self, driver_since: float | None, thorough: bool = False) -> set[str]:
        """Reads every trial that changed since the last call. Returns the ids of changed and of damaged trials.

        `driver_since` is as in `store.trial_status.trial_status`. With `thorough`, every trial is read.

        Raises:
            StorageError: if the storage cannot be read.
        """
        if thorough or driver_since != self._driver_since:
            self._stamps.clear()
        if thorough or time.monotonic() - self._ended_checked_at > ENDED_TRIALS_SECONDS:
            self._ended.clear()
            self._ended_checked_at = time.monotonic()
        self._driver_since = driver_since
        existing = set(self._storage.files.list("trials"))
        changed = set()
        for trial_id, config in self.sweep.by_id.items():
            if trial_id not in self._ended and (trial_id in existing or trial_id not in self.trials):
                if self._read_if_changed(trial_id, config, driver_since):
                    changed.add(trial_id)
                elif trial_id in self.trials and self.trials[trial_id].status.state.final:
                    self._ended.add(trial_id)
        return changed

    def mark_damaged(self, trial_id: str, error: Exception) -> None:
        """Records why a trial cannot be read. The trial is read again in every round."""
        self.damaged[trial_id] = str(error)
        self._stamps.pop(trial_id, None)
        self._ended.discard(trial_id)

    def pending_records(self, shipped: Mapping[str, int]) -> int:
        """Returns the number of unshipped records. `shipped` maps a trial id to its last shipped record."""
        return sum(
            max(0, bisect_right(trial.numbers, config.records) - bisect_right(trial.numbers, shipped.get(trial_id, -1)))
            for trial_id, config in self.sweep.by_id.items()
            if (trial := self.trials.get(trial_id))
        )

    def pending_measurements(self, tags: Mapping[str, Mapping[str, str]]) -> int:
        """Returns the number of unshipped remeasured records. `tags` maps a trial id to the tags of its run."""
        return sum(
            len(numbers)
            for trial_id, config in self.sweep.by_id.items()
            for numbers in unshipped_measurements(
                tags.get(trial_id, {}), self._storage.trial(trial_id), config
            ).values()
        )

    def _read_if_changed(self, trial_id: str, config: TrialConfig, driver_since: float | None) -> bool:
        stamp = self._trial_stamp(f"trials/{trial_id}")
        if stamp == self._stamps.get(trial_id):
            return False
        try:
            trial = read_trial(self._storage.trial(trial_id), config, driver_since)
        except DamagedTrialError as error:
            self.mark_damaged(trial_id, error)
        else:
            self.damaged.pop(trial_id, None)
            self.trials[trial_id] = trial
            if not trial.status.damaged:  # read it every time: a repair in place does not change the stamp
                self._stamps[trial_id] = stamp
        return True

    def _trial_stamp(self, folder: str) -> _Stamp:
        stamp = tuple(_stamp(self._storage, f"{folder}/{part}") for part in ("epochs", "attempts", "measurements"))
        labels = self._storage.files.list(f"{folder}/measurements") if stamp[2] else []
        return stamp + tuple(_stamp(self._storage, f"{folder}/measurements/{label}") for label in labels)


def _stamp(storage: Storage, name: str) -> _Stamp:
    """Returns a value that changes when an entry of a folder is added, replaced or removed; () if it is missing."""
    if not isinstance(storage.root, Path):
        return (object(),)  # an object store has no folder timestamps, so trials are always read
    try:
        found = os.stat(f"{storage.root}/{name}")  # noqa: PTH116 (Path is too slow for thirty thousand calls a round)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageError(
            f"{storage.root / name} cannot be read ({error.strerror or error}); check --storage"
        ) from None
    if abs(time.time() - found.st_mtime) < TIMESTAMP_SECONDS:
        return (object(),)
    return (found.st_ino, found.st_mtime_ns)

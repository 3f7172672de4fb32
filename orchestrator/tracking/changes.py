"""What a store has of a sweep, read again where it has changed: ten thousand trials that stand still cost nothing."""

import os
import time
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path

from orchestrator.store.errors import StorageError
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import manifest_content
from orchestrator.study.config import TrialConfig
from orchestrator.tracking.stored_trial import DamagedTrialError, whole
from orchestrator.tracking.trial_run import Stored, read_stored, unshipped_measurements

AGAIN_SECONDS = 10.0
"""How often ended trials are looked at, which nothing but `measure` adds to."""
GRAIN_SECONDS = 2.0
"""File systems stamp a folder to no more than so: a change right after a look may leave the stamp as it was."""
_Stamp = tuple[object, ...]


class Watch:
    """A sweep as it is stored. What cannot be read of one trial keeps nobody from reading the others."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._file = f"sweeps/{name}/manifest.json"
        self._manifest_stamp: _Stamp | None = None
        self._stamps: dict[str, _Stamp] = {}
        self._measured_stamps: dict[str, _Stamp] = {}
        self._settled: set[str] = set()
        self._settled_at = 0.0
        self._driver_since: float | None = None
        self.manifest = b""
        self.stored: dict[str, Stored] = {}
        """What is stored, by trial id; of a damaged trial what was last read, if anything was."""
        self.damaged: dict[str, str] = {}
        """What cannot be read, by trial id."""
        self.read_manifest()

    def read_manifest(self) -> bool:
        """Reads what the sweep desires. Whether that has changed.

        Raises:
            StorageError: where it cannot be read.
        """
        stamp = _stamp(self._storage, self._file)
        if stamp == self._manifest_stamp:
            return False
        content = self._storage.files.read(self._file)
        if content is None:
            raise StorageError(f"{self._storage.root / self._file} is gone; check --storage")
        self._manifest_stamp = stamp
        if content == self.manifest:
            return False
        self.sweep, self.provenance = manifest_content(content)
        self.manifest = content
        self._stamps.clear()
        self._settled.clear()
        self.stored.clear()
        return True

    def look(self, driver_since: float | None, thorough: bool = False) -> set[str]:
        """Reads every trial that has changed since the last look. Returns their ids, and those of damaged trials.

        Args:
            driver_since: as in `store.trial_status.trial_status`.
            thorough: read all trials, whatever their folders say of themselves.
        """
        if thorough or driver_since != self._driver_since:
            self._stamps.clear()
        if thorough or time.monotonic() - self._settled_at > AGAIN_SECONDS:
            self._settled.clear()
            self._settled_at = time.monotonic()
        self._driver_since = driver_since
        begun = set(self._storage.files.list("trials"))
        changed = set()
        for trial_id, config in self.sweep.by_id.items():
            if trial_id not in self._settled and (trial_id in begun or trial_id not in self.stored):
                if self._look_at(trial_id, config, driver_since):
                    changed.add(trial_id)
                elif trial_id in self.stored and self.stored[trial_id].status.state.final:
                    self._settled.add(trial_id)
        return changed

    def note_damage(self, trial_id: str, error: Exception) -> None:
        """Notes what cannot be read of a trial; it is tried again at every look."""
        self.damaged[trial_id] = str(error)
        self._stamps.pop(trial_id, None)
        self._settled.discard(trial_id)

    def pending(self, shipped: Mapping[str, int]) -> int:
        """How many committed epochs lie beyond the last one shipped, by trial id."""
        return sum(
            max(0, bisect_right(stored.epochs, config.epochs) - bisect_right(stored.epochs, shipped.get(trial_id, -1)))
            for trial_id, config in self.sweep.by_id.items()
            if (stored := self.stored.get(trial_id))
        )

    def pending_measurements(self, tags: Mapping[str, Mapping[str, str]]) -> int:
        """How many epochs that were measured again are not shipped, by the tags of the trials' runs."""
        return sum(
            len(epochs)
            for trial_id, config in self.sweep.by_id.items()
            for epochs in unshipped_measurements(tags.get(trial_id, {}), self._storage.trial(trial_id), config).values()
        )

    def _look_at(self, trial_id: str, config: TrialConfig, driver_since: float | None) -> bool:
        folder = f"trials/{trial_id}"
        stamp = tuple(_stamp(self._storage, f"{folder}/{part}") for part in ("epochs", "attempts", "measurements"))
        labels = self._storage.files.list(f"{folder}/measurements") if stamp[2] else []
        stamp += tuple(_stamp(self._storage, f"{folder}/measurements/{label}") for label in labels)
        if stamp == self._stamps.get(trial_id):
            return False
        try:
            stored = whole(trial_id, lambda: read_stored(self._storage.trial(trial_id), config, driver_since))
        except DamagedTrialError as error:
            self.note_damage(trial_id, error)
        else:
            self.damaged.pop(trial_id, None)
            self.stored[trial_id] = stored
            if not stored.status.damaged:  # what is mended in place leaves the stamp as it is
                self._stamps[trial_id] = stamp
        return True


def _stamp(storage: Storage, name: str) -> _Stamp:
    """Is another once something was added to a folder, replaced or removed there, and empty where there is none."""
    if not isinstance(storage.root, Path):
        return (object(),)  # an object store has no folders, so nothing that could tell
    try:
        found = os.stat(f"{storage.root}/{name}")  # noqa: PTH116 (thirty thousand paths a round)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StorageError(
            f"{storage.root / name} cannot be read ({error.strerror or error}); check --storage"
        ) from None
    if abs(time.time() - found.st_mtime) < GRAIN_SECONDS:
        return (object(),)
    return (found.st_ino, found.st_mtime_ns)

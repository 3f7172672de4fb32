"""The storage: a folder or a place in a bucket that holds all trials and sweeps.

- <storage>/trials/<trial_id>/     shared by all sweeps that contain the trial (trial.py)
- <storage>/sweeps/<sweep>/        manifest.json, gallery.json, stop, storage-id, driver-lease/, ship-lease/,
                                   shipper.json and .log, measure-failures/, export/, report/ (sweep.py)
- <storage>/damage/                marks on epochs found damaged (suspects.py)
- <storage>/provenance/            files that attempts and sweeps refer to by digest (provenance/attachments.py)
"""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.store import suspects
from orchestrator.store.backends import files_at
from orchestrator.store.sweep import SweepStore, sweep_names
from orchestrator.store.trial import TrialStore


class Storage:
    """A folder, or ``s3://BUCKET/PREFIX``. Creating the object reads and writes nothing.

    Raises:
        StorageError: the location is invalid.
    """

    def __init__(self, root: str | Path) -> None:
        self.files = files_at(root)
        self.root = self.files.root

    def trial(self, trial_id: str) -> TrialStore:
        """The store of a trial, whether or not anything is stored."""
        return TrialStore(self.files, trial_id)

    def suspects(self) -> dict[str, tuple[int, ...]]:
        """Epochs that a reader found damaged, by trial id; some may have been recomputed since."""
        return suspects.by_trial(self.files)

    def verify(self, trial_ids: Iterable[str]) -> None:
        """Reads every epoch of some trials, so that every damaged one is marked."""
        for trial in map(self.trial, trial_ids):
            for epoch in trial.epochs():
                trial.read_intact(epoch)

    def sweep(self, name: str) -> SweepStore:
        """The store of a sweep, whether or not anything is stored."""
        return SweepStore(self.files, name)

    def sweeps(self) -> list[str]:
        """The names of the sweeps that were run here."""
        return sweep_names(self.files)

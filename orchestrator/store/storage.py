"""The storage, a folder or an S3 location that contains all trials and sweeps.

- <storage>/trials/<trial_id>/     shared by all sweeps that contain the trial (trial.py)
- <storage>/sweeps/<sweep>/        manifest.json, gallery.json, stop, storage-id, driver-lease/, ship-lease/,
                                   shipper.json and .log, measure-failures/, export/, report/ (sweep.py)
- <storage>/damage/                marks on records found damaged (suspects.py)
- <storage>/provenance/            files that attempts and sweeps refer to by digest (provenance/attachments.py)
"""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.store.backends import files_at
from orchestrator.store.files import suspects
from orchestrator.store.sweep import SweepStore, sweep_names
from orchestrator.store.trial import TrialStore


class Storage:
    """The storage in a folder or at ``s3://BUCKET/PREFIX``. The constructor reads and writes nothing.

    Raises:
        StorageError: the location is invalid.
    """

    def __init__(self, root: str | Path) -> None:
        self.files = files_at(root)
        self.root = self.files.root

    def trial(self, trial_id: str) -> TrialStore:
        """The store of a trial, which may be empty."""
        return TrialStore(self.files, trial_id)

    def suspects(self) -> dict[str, tuple[int, ...]]:
        """Maps trial ids to numbers of records that a reader found damaged. Some may have been recomputed since."""
        return suspects.by_trial(self.files)

    def verify(self, trial_ids: Iterable[str]) -> None:
        """Reads every record of the given trials, which marks the damaged ones."""
        for trial in map(self.trial, trial_ids):
            for number in trial.numbers():
                trial.read_intact(number)

    def sweep(self, name: str) -> SweepStore:
        """The store of a sweep, which may be empty."""
        return SweepStore(self.files, name)

    def sweeps(self) -> list[str]:
        """The names of the sweeps that were run with this storage."""
        return sweep_names(self.files)

"""Where everything lies below the storage folder.

- <storage>/trials/<trial_id>/     shared by all sweeps that name the trial (commit.py)
- <storage>/sweeps/<sweep>/        manifest.json, gallery.json, stop, storage-id, driver-lease/, ship-lease/,
                                   shipper.json and .log, measure-failures/, export/, report/
- <storage>/damage/                epochs found damaged (damage.py)
- <storage>/provenance/            what attempts and sweeps refer to by its digest (attachments.py)
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from orchestrator.store import suspects
from orchestrator.store.backends import files_at
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import DamagedError
from orchestrator.store.sweep import SweepStore, sweep_names
from orchestrator.store.trial import TrialStore


class Storage:
    """A storage folder. Making one touches nothing."""

    def __init__(self, root: str | Path) -> None:
        self.files: FileSystem = files_at(root)
        self.root = self.files.root

    def trial(self, trial_id: str) -> TrialStore:
        """A trial's part, whether or not anything is stored of it."""
        return TrialStore(self.files, trial_id)

    def suspects(self) -> dict[str, tuple[int, ...]]:
        """Epochs that somebody found damaged, by trial id; some may have been computed again since."""
        return suspects.by_trial(self.files)

    def verify(self, trial_ids: Iterable[str]) -> None:
        """Reads every epoch of some trials, so that all that is damaged is noted."""
        for trial in map(self.trial, trial_ids):
            for epoch in trial.epochs():
                with contextlib.suppress(DamagedError):
                    trial.read(epoch)

    def sweep(self, name: str) -> SweepStore:
        """A sweep's part."""
        return SweepStore(self.files, name)

    def sweeps(self) -> list[str]:
        """The names of the sweeps that were run here."""
        return sweep_names(self.files)

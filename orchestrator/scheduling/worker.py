"""What a worker does, whichever engine started it: one trial, from where it stands, into the store."""

import os
import traceback
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.store.layout import Storage


class Job(Protocol):
    """What an engine does for every trial, in a process of its own: it can be pickled."""

    def run(self, trial_id: str) -> None:
        """Does it for one trial. An exception is the trial's failure, noted in the store, and none of the engine's."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to know beside a trial's id."""

    storage_root: str
    sweep: str
    code_root: str = field(default_factory=os.getcwd)
    """The folder in which the driver works: networks of the user's own are imported from there."""

    def run(self, trial_id: str) -> None:
        """Runs a trial. An exception is the trial's failure, noted with its attempt, and none of the engine's."""
        from orchestrator.training.own_models import importable_from  # torch, on workers only
        from orchestrator.trial import run_trial

        importable_from(self.code_root)
        storage = Storage(self.storage_root)
        store = storage.sweep(self.sweep)
        sweep, _ = store.read_manifest()
        try:
            run_trial(
                sweep.by_id[trial_id],
                storage.trial(trial_id),
                sweep.resources,
                lambda: store.stop_requested,
                keeps=sweep.keeps,
            )
        except Exception:
            traceback.print_exc()

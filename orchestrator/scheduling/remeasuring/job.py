"""The job that measures the checkpoints of a trial again."""

from dataclasses import dataclass

from orchestrator.scheduling.job import TrainingJob, TrialSnapshot
from orchestrator.scheduling.remeasuring.change import MeasurementChange
from orchestrator.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class RemeasureJob(TrainingJob):
    """Measures trials again instead of training them."""

    change: MeasurementChange
    every: int

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """Returns the number of records measured under the label."""
        return TrialSnapshot(len(Storage(self.storage_root).trial(trial_id).remeasurements.numbers(self.change.label)))

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Stores the failure in the sweep. The trial itself stays unchanged."""
        if failed:
            note = f"{reason.rstrip()}\n{why}" if why else reason
            Storage(self.storage_root).sweep(self.sweep).note_failure(trial_id, note)

    def _run(self, trial_id: str, node: str) -> None:
        from orchestrator.remeasure import RemeasureOptions, remeasure  # imports torch, on workers only

        storage, store, sweep, config = self._open(trial_id)
        options = RemeasureOptions(
            self.change.apply(config.measurement),
            self.change.label,
            self.resources or sweep.resources,
            self.every,
            stop_requested=lambda: store.stop_requested,
            command=self.command,
            accept_changed_code=self.accept_changed_code,
        )
        remeasure(config, storage.trial(trial_id), options)

"""The progress of remeasuring a trial, derived from its commits, checkpoints and remeasurements."""

from dataclasses import dataclass

from orchestrator.store.files.commit import Commit
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig


@dataclass(frozen=True)
class RemeasurementStatus:
    """The progress of remeasuring a trial."""

    measured: tuple[int, ...]
    """Epochs already remeasured, whether or not their checkpoint still exists."""
    due: tuple[Commit, ...]
    """Epochs that have a checkpoint and are not remeasured yet."""
    diverged: tuple[int, ...]
    """Epochs that have a checkpoint, but cannot be measured because their loss is not finite."""
    begun: bool
    """Whether any epoch of the trial is committed."""

    @property
    def without_checkpoint(self) -> bool:
        """Whether no epoch was remeasured, and none can be because there is no suitable checkpoint."""
        return not (self.measured or self.due or self.diverged)


def remeasurement_status(trial: TrialStore, config: TrialConfig, label: str, every: int) -> RemeasurementStatus:
    """Returns the progress of remeasuring a trial.

    Args:
        trial: the stored trial.
        config: the requested trial; another sweep may have trained it for more epochs.
        label: the label of the measurement.
        every: only epochs that are multiples of this number count.
    """
    measured = [e for e in trial.remeasurements.epochs(label) if e <= config.records and e % every == 0]
    commits = trial.with_checkpoint(config.records, every)
    return RemeasurementStatus(
        tuple(measured),
        tuple(commit for commit in commits if commit.record.number not in measured and not commit.record.diverged),
        tuple(commit.record.number for commit in commits if commit.record.diverged),
        bool(trial.epochs()),
    )

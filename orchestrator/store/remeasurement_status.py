"""The progress of remeasuring a trial, derived from its commits, checkpoints and remeasurements."""

from dataclasses import dataclass

from orchestrator.store.files.commit import Commit
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig


@dataclass(frozen=True)
class RemeasurementStatus:
    """The progress of remeasuring a trial."""

    measured: tuple[int, ...]
    """Numbers of records already remeasured, whether or not their checkpoint still exists."""
    due: tuple[Commit, ...]
    """Commits that have a checkpoint and are not remeasured yet."""
    diverged: tuple[int, ...]
    """Numbers of records that have a checkpoint, but cannot be measured because their loss is not finite."""
    begun: bool
    """Whether any record of the trial is committed."""

    @property
    def without_checkpoint(self) -> bool:
        """Whether no record was remeasured, and none can be because there is no suitable checkpoint."""
        return not (self.measured or self.due or self.diverged)


def remeasurement_status(trial: TrialStore, config: TrialConfig, label: str, every: int) -> RemeasurementStatus:
    """Returns the progress of remeasuring a trial.

    Args:
        trial: the stored trial.
        config: the requested trial; another sweep may have trained it for longer.
        label: the label of the measurement.
        every: only records whose numbers are multiples of it count.
    """
    measured = [n for n in trial.remeasurements.numbers(label) if n <= config.records and n % every == 0]
    commits = trial.with_checkpoint(config.records, every)
    return RemeasurementStatus(
        tuple(measured),
        tuple(commit for commit in commits if commit.record.number not in measured and not commit.record.diverged),
        tuple(commit.record.number for commit in commits if commit.record.diverged),
        bool(trial.numbers()),
    )

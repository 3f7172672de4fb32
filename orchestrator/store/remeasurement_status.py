"""What of a trial can be measured again, derived from what is committed, kept and measured."""

from dataclasses import dataclass

from orchestrator.store.commit import Commit
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig


@dataclass(frozen=True)
class RemeasurementStatus:
    """How far it is with measuring a trial again."""

    measured: tuple[int, ...]
    """Epochs that have been, whether or not their checkpoint is still there."""
    due: tuple[Commit, ...]
    """Epochs whose checkpoint is there, and that have not been."""
    diverged: tuple[int, ...]
    """Epochs whose checkpoint is there, of which nothing can be measured: the loss is no finite number."""
    begun: bool
    """Whether the trial has any epoch."""

    @property
    def without_checkpoint(self) -> bool:
        """Whether nothing has been measured, and nothing can be."""
        return not (self.measured or self.due or self.diverged)


def remeasurement_status(trial: TrialStore, config: TrialConfig, label: str, every: int) -> RemeasurementStatus:
    """What can be measured of a trial under a label.

    Args:
        trial: what is stored of it.
        config: what is asked for; another sweep may have trained it further.
        label: how it is measured.
        every: only epochs that are multiples of it.
    """
    measured = [e for e in trial.remeasurements.epochs(label) if e <= config.epochs and e % every == 0]
    there = trial.with_checkpoint(config.epochs, every)
    return RemeasurementStatus(
        tuple(measured),
        tuple(commit for commit in there if commit.record.epoch not in measured and not commit.record.diverged),
        tuple(commit.record.epoch for commit in there if commit.record.diverged),
        bool(trial.epochs()),
    )

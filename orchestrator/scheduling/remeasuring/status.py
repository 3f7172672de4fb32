"""The state of the remeasurement of a sweep: measured, missing and failed checkpoints."""

from dataclasses import dataclass, field

from orchestrator.counted import counted
from orchestrator.scheduling.remeasuring.change import MeasurementChange
from orchestrator.store.remeasurement_status import RemeasurementStatus, remeasurement_status
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep


@dataclass(frozen=True)
class SweepRemeasurement:
    """The state of the remeasurement of a sweep."""

    sweep: Sweep
    label: str
    trials: dict[str, RemeasurementStatus]
    """Trials whose measurement is affected by the change, in the order of the sweep file."""
    unchanged: int
    """Number of trials that were already measured with these settings in training."""
    failures: dict[str, str] = field(default_factory=dict)
    """Maps the id of a trial that could not be measured to the reason: a traceback or one line."""

    def due_numbers(self, trial_id: str) -> set[int]:
        """Returns the numbers of the records of a trial that are still to be measured."""
        return {commit.record.number for commit in self.trials[trial_id].due}

    @property
    def todo(self) -> list[str]:
        """Trials with records still to be measured."""
        return [trial_id for trial_id, trial in self.trials.items() if trial.due]

    @property
    def measured(self) -> int:
        """Number of checkpoints measured."""
        return sum(len(trial.measured) for trial in self.trials.values())

    @property
    def missing(self) -> int:
        """Number of checkpoints still to be measured."""
        return sum(len(trial.due) for trial in self.trials.values())

    @property
    def without_checkpoint(self) -> list[str]:
        """Trials with no measured checkpoint and none to measure."""
        return [trial_id for trial_id, trial in self.trials.items() if trial.without_checkpoint]

    @property
    def summary(self) -> str:
        """``measured 24 checkpoints of 12 trials as fraction-0.5/...; 0 failed; 3 trials have no checkpoint``."""
        trials = sum(bool(trial.measured) for trial in self.trials.values())
        diverged = sum(len(trial.diverged) for trial in self.trials.values())
        without = len(self.without_checkpoint)
        parts = [
            f"measured {counted(self.measured, 'checkpoint')} of {counted(trials, 'trial')} as {self.label}/...",
            f"{len(self.failures)} failed",
        ]
        if self.missing:
            parts.append(f"{counted(self.missing, 'checkpoint')} still to measure")
        if diverged:
            parts.append(f"{counted(diverged, 'checkpoint')} diverged and cannot be measured")
        if self.unchanged:
            parts.append(f"{counted(self.unchanged, 'trial')} measured like this in training")
        if without:
            parts.append(f"{counted(without, 'trial')} {'has' if without == 1 else 'have'} no checkpoint")
        return "; ".join(parts)


def sweep_remeasurement(sweep: Sweep, storage: Storage, change: MeasurementChange, every: int) -> SweepRemeasurement:
    """Returns the state of the remeasurement of a sweep."""
    changed = {key: trial for key, trial in sweep.by_id.items() if change.changes(trial.measurement)}
    return SweepRemeasurement(
        sweep,
        change.label,
        {key: remeasurement_status(storage.trial(key), trial, change.label, every) for key, trial in changed.items()},
        len(sweep.trials) - len(changed),
    )


def shortcomings(result: SweepRemeasurement, every: int) -> list[str]:
    """Returns a line for each failed trial, and lines about trials without checkpoints and how to get some."""
    label, by_id = result.sweep.label, result.sweep.by_id
    lines = [
        f"failed: {key} ({label(by_id[key])}): {reason.strip().splitlines()[-1]}"
        for key, reason in result.failures.items()
    ]
    begun = [key for key in result.without_checkpoint if result.trials[key].begun]
    others = [key for key in result.without_checkpoint if key not in begun]
    if begun:
        missing = "no checkpoint" if every == 1 else f"no checkpoint of a record whose number is a multiple of {every}"
        lines.append(
            f"{missing}: {', '.join(begun)}; keep_checkpoints: every {every if every > 1 else 10} in the sweep keeps "
            "those of future records; for those of past records run the sweep into another --storage"
        )
    if others:
        lines.append(f"not begun: {', '.join(others)}; hessian-dynamics run {result.sweep.name} trains what is missing")
    return lines


def remeasured_lines(sweep: Sweep, storage: Storage) -> list[str]:
    """Returns a line per label: ``measured again: fraction-0.5: 24 checkpoints of 12 trials``."""
    found: dict[str, list[int]] = {}
    for trial_id, config in sweep.by_id.items():
        remeasurements = storage.trial(trial_id).remeasurements
        for label in remeasurements.labels():
            count = sum(number <= config.records for number in remeasurements.numbers(label))
            found.setdefault(label, []).append(count)
    return [
        f"measured again: {label}: {counted(sum(counts), 'checkpoint')} of {counted(len(counts), 'trial')}"
        for label, counts in sorted(found.items())
    ]

"""Measures the trials of a sweep again, from their checkpoints, on the engines that train them."""

import logging
from dataclasses import dataclass, field, replace

from rich.console import Console

from orchestrator.scheduling.driver import compute, exclusive_run, prepare
from orchestrator.scheduling.job import TrainingJob, TrialSnapshot
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.plan import subset
from orchestrator.scheduling.progress import Progress, duration
from orchestrator.scheduling.remeasuring.change import MeasurementChange
from orchestrator.store.remeasurement_status import RemeasurementStatus, remeasurement_status
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep

log = logging.getLogger("hessian_dynamics.remeasure")


@dataclass(frozen=True, kw_only=True)
class RemeasureJob(TrainingJob):
    """What a worker needs to know beside a trial's id, to measure it again instead of training it."""

    change: MeasurementChange
    every: int

    def snapshot(self, trial_id: str) -> TrialSnapshot:
        """How many epochs have been measured."""
        return TrialSnapshot(len(Storage(self.storage_root).trial(trial_id).remeasurements.epochs(self.change.label)))

    def conclude(self, trial_id: str, before: TrialSnapshot, reason: str, why: str, failed: bool) -> None:
        """Notes why a trial could not be measured; the trial itself stands as it stood."""
        if failed:
            note = f"{reason.rstrip()}\n{why}" if why else reason
            Storage(self.storage_root).sweep(self.sweep).note_failure(trial_id, note)

    def _run(self, trial_id: str, node: str) -> None:
        from orchestrator.remeasure import remeasure  # torch, on workers only
        from orchestrator.training.models.user_code import importable_from
        from orchestrator.trial import data_digest

        importable_from(self.code_root)
        storage = Storage(self.storage_root)
        store = storage.sweep(self.sweep)
        sweep, _ = store.read_manifest()
        config = sweep.by_id[trial_id]
        if self.requirements:
            self.requirements.check_data(config.data, data_digest(config, sweep.resources))
        remeasure(
            config,
            self.change.apply(config.measurement),
            storage.trial(trial_id),
            self.change.label,
            sweep.resources,
            self.every,
            lambda: store.stop_requested,
            self.command,
        )


@dataclass(frozen=True)
class SweepRemeasurement:
    """How far it is with measuring a sweep again."""

    sweep: Sweep
    label: str
    trials: dict[str, RemeasurementStatus]
    """Of the trials that the change changes, in the order of the file."""
    unchanged: int
    """Trials that were measured so in training."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why trials could not be measured, by id: tracebacks, or a line."""

    def due_epochs(self, trial_id: str) -> set[int]:
        """The epochs of a trial that are still to be measured."""
        return {commit.record.epoch for commit in self.trials[trial_id].due}

    @property
    def todo(self) -> list[str]:
        """The trials with epochs still to be measured."""
        return [trial_id for trial_id, trial in self.trials.items() if trial.due]

    @property
    def measured(self) -> int:
        """Checkpoints that have been measured."""
        return sum(len(trial.measured) for trial in self.trials.values())

    @property
    def missing(self) -> int:
        """Checkpoints still to be measured."""
        return sum(len(trial.due) for trial in self.trials.values())

    @property
    def without_checkpoint(self) -> list[str]:
        """The trials of which nothing can be measured."""
        return [trial_id for trial_id, trial in self.trials.items() if trial.without_checkpoint]

    @property
    def summary(self) -> str:
        """``measured 24 checkpoints of 12 trials as fraction-0.5/...; 0 failed; 3 trials have no checkpoint``."""
        trials = sum(bool(trial.measured) for trial in self.trials.values())
        diverged = sum(len(trial.diverged) for trial in self.trials.values())
        without = len(self.without_checkpoint)
        parts = [
            f"measured {_count(self.measured, 'checkpoint')} of {_count(trials, 'trial')} as {self.label}/...",
            f"{len(self.failures)} failed",
        ]
        if self.missing:
            parts.append(f"{_count(self.missing, 'checkpoint')} still to measure")
        if diverged:
            parts.append(f"{_count(diverged, 'checkpoint')} diverged, of which nothing can be measured")
        if self.unchanged:
            parts.append(f"{_count(self.unchanged, 'trial')} measured so in training")
        if without:
            parts.append(f"{_count(without, 'trial')} {'has' if without == 1 else 'have'} no checkpoint")
        return "; ".join(parts)


def remeasure_sweep(
    sweep: Sweep, storage: Storage, console: Console, change: MeasurementChange, every: int, options: RunOptions
) -> SweepRemeasurement:
    """Measures what a change asks for and the storage does not have. Returns how far it is in the end.

    Args:
        sweep: as it was last run.
        storage: what is stored.
        console: where progress is shown.
        change: what is measured otherwise than in training.
        every: only epochs that are multiples of it.
        options: the engine.

    Raises:
        StorageError: where the storage cannot be written.
        LeaseHeldError: where a driver is at work on the sweep.
        DataError: where a data set is missing or damaged.
        KeyboardInterrupt: where the user insisted on stopping at once.
    """
    with exclusive_run(storage, sweep.name) as (store, lease):
        store.clear_failures()
        before = survey(sweep, storage, change, every)
        if before.todo:
            todo = subset(sweep, before.todo)
            prepare(todo, console)
            work = RemeasureJob(str(storage.root), sweep.name, lease.number, change=change, every=every)
            compute(work, todo, _Progress(before, storage, console), options, lease)
        else:
            log.info("nothing left to measure")
        failures = store.failures()
        after = survey(sweep, storage, change, every)
        if not store.stop_requested:
            # Of what was due, and not of what another sweep that shares the trial has trained meanwhile.
            left = (key for key in after.todo if before.due_epochs(key) & after.due_epochs(key))
            failures = {**dict.fromkeys(left, "left as it stands; the same command goes on with it"), **failures}
    return replace(after, failures=failures)


def survey(sweep: Sweep, storage: Storage, change: MeasurementChange, every: int) -> SweepRemeasurement:
    """How far it is with measuring a sweep again."""
    changed = {key: trial for key, trial in sweep.by_id.items() if change.changes(trial.measurement)}
    return SweepRemeasurement(
        sweep,
        change.label,
        {key: remeasurement_status(storage.trial(key), trial, change.label, every) for key, trial in changed.items()},
        len(sweep.trials) - len(changed),
    )


def shortcomings(result: SweepRemeasurement, every: int) -> list[str]:
    """What could not be measured, why, and what to do: a line a failed trial, one for all without a checkpoint."""
    label = result.sweep.label
    by_id = result.sweep.by_id
    lines = [
        f"failed: {key} ({label(by_id[key])}): {reason.strip().splitlines()[-1]}"
        for key, reason in result.failures.items()
    ]
    begun = [key for key in result.without_checkpoint if result.trials[key].begun]
    others = [key for key in result.without_checkpoint if key not in begun]
    if begun:
        what = "no checkpoint" if every == 1 else f"no checkpoint of an epoch that {every} divides"
        keep = f"keep_checkpoints: every {every if every > 1 else 10} in the sweep keeps those of epochs to come"
        anew = "those of past epochs do not come back: to have them, run the sweep into another --storage"
        lines.append(f"{what}: {', '.join(begun)}; {keep}; {anew}")
    if others:
        lines.append(f"not begun: {', '.join(others)}; hessian-dynamics run {result.sweep.name} trains what is missing")
    return lines


def remeasured_lines(sweep: Sweep, storage: Storage) -> list[str]:
    """What has been measured again of a sweep: ``measured again: fraction-0.5: 24 checkpoints of 12 trials``."""
    found: dict[str, list[int]] = {}
    for trial_id, config in sweep.by_id.items():
        measurements = storage.trial(trial_id).remeasurements
        for label in measurements.labels():
            count = sum(epoch <= config.epochs for epoch in measurements.epochs(label))
            found.setdefault(label, []).append(count)
    return [
        f"measured again: {label}: {_count(sum(counts), 'checkpoint')} of {_count(len(counts), 'trial')}"
        for label, counts in sorted(found.items())
    ]


class _Progress(Progress):
    """Shows how measuring comes along, of what was due when it began."""

    def __init__(self, before: SweepRemeasurement, storage: Storage, console: Console) -> None:
        super().__init__(before.sweep, storage, console)
        self._before = before
        self._due = {trial_id: before.due_epochs(trial_id) for trial_id in before.todo}

    def line(self) -> str:
        """``12 trials: 24 of 96 checkpoints measured, 350 an hour, 4m 02s left``."""
        stored = {key: self._storage.trial(key).remeasurements.epochs(self._before.label) for key in self._due}
        missing = sum(len(epochs.difference(stored[trial_id])) for trial_id, epochs in self._due.items())
        total = self._before.measured + self._before.missing
        line = f"{_count(len(self._before.trials), 'trial')}: {total - missing} of {total} checkpoints measured"
        pace = self._pace(missing)
        if pace.epochs_per_hour is not None and pace.seconds_left is not None:
            line += f", {pace.epochs_per_hour:,.0f} an hour, {duration(pace.seconds_left)} left"
        return line


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

"""Measures the trials of a sweep again, from their checkpoints, on the engines that train them."""

import logging
from dataclasses import replace

from rich.console import Console

from orchestrator.counted import counted
from orchestrator.scheduling.driver import compute, exclusive_run, prepare, refuse_changed_inputs
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.plan import reconcile, subset
from orchestrator.scheduling.progress.moment import Moment
from orchestrator.scheduling.progress.progress import Progress
from orchestrator.scheduling.remeasuring.change import MeasurementChange
from orchestrator.scheduling.remeasuring.job import RemeasureJob
from orchestrator.scheduling.remeasuring.status import SweepRemeasurement, sweep_remeasurement
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep

log = logging.getLogger(__name__)


def remeasure_sweep(
    sweep: Sweep, storage: Storage, console: Console, change: MeasurementChange, every: int, options: RunOptions
) -> SweepRemeasurement:
    """Measures the stored checkpoints that are not measured yet. Returns the final state of the remeasurement.

    Args:
        sweep: the sweep as it was last run.
        storage: holds the checkpoints and receives the results.
        console: shows progress.
        change: the settings that differ from those in training.
        every: only records whose numbers are multiples of it are measured.
        options: engine, limits and checks.

    Raises:
        StorageError: if the storage cannot be written.
        LeaseHeldError: if a driver is running the sweep.
        ChangedInputsError: if stored trials were computed from other data, or from other code and this is not accepted.
        DataError: if a data set is missing or damaged.
        KeyboardInterrupt: if the user asked twice to stop.
    """
    with exclusive_run(storage, sweep.name) as (store, lease):
        refuse_changed_inputs(reconcile(sweep, storage), storage, console, options)
        store.clear_failures()
        before = sweep_remeasurement(sweep, storage, change, every)
        if before.todo:
            todo = subset(sweep, before.todo)
            prepare(_with_change(todo, change), console)
            job = RemeasureJob(
                str(storage.root),
                sweep.name,
                lease.number,
                accept_changed_code=options.accept_changed_code,
                change=change,
                every=every,
            )
            compute(job, todo, _RemeasureProgress(before, storage, console), options, lease)
        else:
            log.info("nothing left to measure")
        failures = store.failures()
        after = sweep_remeasurement(sweep, storage, change, every)
        if not store.stop_requested:
            # A record that another sweep trained in the meantime is not a failure, because it was not due at the start.
            left = (key for key in after.todo if before.due_numbers(key) & after.due_numbers(key))
            failures = {**dict.fromkeys(left, "not measured; the same command tries it again"), **failures}
    return replace(after, failures=failures)


def _with_change(sweep: Sweep, change: MeasurementChange) -> Sweep:
    """Returns the sweep with the measurement that will be made."""
    changed = (trial.model_copy(update={"measurement": change.apply(trial.measurement)}) for trial in sweep.trials)
    return replace(sweep, trials=tuple(changed))


class _RemeasureProgress(Progress):
    """Shows how many of the due checkpoints have been measured."""

    def __init__(self, before: SweepRemeasurement, storage: Storage, console: Console) -> None:
        super().__init__(before.sweep, storage, console)
        self._before = before
        self._due = {trial_id: before.due_numbers(trial_id) for trial_id in before.todo}

    def now(self) -> Moment:
        """Returns the line ``12 trials: 24 of 96 checkpoints measured, 350 an hour, 4m 02s left``."""
        stored = {key: self.storage.trial(key).remeasurements.numbers(self._before.label) for key in self._due}
        missing = sum(len(numbers.difference(stored[trial_id])) for trial_id, numbers in self._due.items())
        total = self._before.measured + self._before.missing
        trials = counted(len(self._before.trials), "trial")
        return Moment((f"{trials}: {total - missing} of {total} checkpoints measured{self.pace(missing)}",))

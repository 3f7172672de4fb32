"""Runs a sweep: takes its lease, checks its inputs, writes its manifest, and computes the missing records."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.engine import Engine
from orchestrator.scheduling.engines.local import LocalEngine
from orchestrator.scheduling.engines.ray import RayEngine
from orchestrator.scheduling.inputs import InputComparison, compare_inputs
from orchestrator.scheduling.job import TrainingJob
from orchestrator.scheduling.options import RunOptions
from orchestrator.scheduling.plan import Plan, reconcile, subset
from orchestrator.scheduling.progress.memory_warnings import MemoryWarnings
from orchestrator.scheduling.progress.progress import Progress
from orchestrator.scheduling.stopping import Stopping, handlers_kept, interrupt_main_thread
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import SweepStore
from orchestrator.study.parts.data_config import Data
from orchestrator.study.sweep import Resources, Sweep

log = logging.getLogger(__name__)


def run_sweep(sweep: Sweep, storage: Storage, console: Console, options: RunOptions) -> Plan:
    """Trains and measures the records of a sweep that are not stored yet. Returns the final status of all trials.

    Args:
        sweep: the trials to complete.
        storage: holds the results, including those of earlier runs.
        console: shows progress.
        options: engine, limits and checks.

    Raises:
        StorageError: if the storage cannot be written.
        LeaseHeldError: if another driver is running the sweep.
        LeaseLostError: if another host's driver has taken over because this one did not renew its lease in time.
        ChangedInputsError: if stored trials were computed from other data, or from other code and this is not accepted.
        DataError: if a data set is missing or damaged.
        ValueError: if a model, batch size or augmentation does not fit its data, a model cannot be measured, or a node
            is unfit.
        UserCodeError: if the code of a user's own network or optimizer raises.
        ConnectionError: if no Ray cluster answers at the address, or Ray died and could not be started again.
        KeyboardInterrupt: if the user asked twice to stop.
    """
    with exclusive_run(storage, sweep.name) as (store, lease):
        if options.verify:
            storage.verify(sweep.by_id)
        before = reconcile(sweep, storage)
        inputs = refuse_changed_inputs(before, storage, console, options)
        if before.todo:
            prepare(sweep, console)
        # Nothing is stored before this line, so a refused sweep leaves nothing behind.
        inputs.record(before, storage)
        store.write_manifest(sweep, capture())
        options.on_manifest()
        warnings = MemoryWarnings(sweep.resources, before.todo)
        if before.todo:
            _store_gallery(sweep, store)
            work = TrainingJob(
                str(storage.root), sweep.name, lease.number, accept_changed_code=options.accept_changed_code
            )
            progress = Progress(sweep, storage, console, on_plan=warnings.update)
            compute(work, subset(sweep, before.todo), progress, options, lease)
        else:
            log.info("nothing left to do")
    after = reconcile(sweep, storage)
    warnings.update(after)
    return after


def refuse_changed_inputs(plan: Plan, storage: Storage, console: Console, options: RunOptions) -> InputComparison:
    """Compares the data and the user's code behind stored trials with those that the sweep names now.

    Raises:
        ChangedInputsError: if stored trials were computed from other data, or from other code and this is not accepted.
    """
    with console.status("comparing data and code with those of stored trials"):
        compared = compare_inputs(plan, storage, decode=True)
    compared.refuse(options.accept_changed_code)
    return compared


@contextmanager
def exclusive_run(storage: Storage, name: str) -> Iterator[tuple[SweepStore, Lease]]:
    """Holds the driver's lease of a sweep while the block runs. Losing the lease interrupts the main thread.

    If the block raises before the first manifest of the sweep is written, the lease is deleted.

    Raises:
        StorageError: if the storage cannot be written.
        LeaseHeldError: if another driver is running the sweep.
        LeaseLostError: if another host's driver has taken over.
    """
    storage.files.check_writable()
    store = storage.sweep(name)
    with store.driver_lease_with(on_lost=interrupt_main_thread) as lease:
        store.clear_stop()
        try:
            yield store, lease
        except BaseException:
            with suppress(OSError):  # the first error matters more than that of an unreachable storage
                if not store.was_run:
                    lease.withdraw()
            raise


def prepare(sweep: Sweep, console: Console) -> None:
    """Reads the data, builds the models of a sweep and measures each once, to report errors before it begins.

    Raises:
        DataError: if data is missing or damaged.
        ValueError: if a model cannot be built or measured.
    """
    # These imports load torch, which takes seconds.
    from orchestrator.preparation import check_models, prepare_data
    from orchestrator.training.user_code.own_code import importable_from

    importable_from(str(Path.cwd()))
    with console.status("reading the data"):
        prepare_data(sweep)
    with console.status("building and measuring the models"):
        check_models(sweep)


def compute(
    job: TrainingJob, sweep: Sweep, progress: Progress, options: RunOptions, lease: Lease | None = None
) -> None:
    """Runs a job for every trial of a sweep on an engine, until none is left or the run is stopped.

    Losing the `lease` stops the run at once by KeyboardInterrupt.

    Raises:
        ConnectionError: if no Ray cluster answers at the address, or Ray died and could not be started again.
        NoRoomError: if no node has the resources of a trial.
        ValueError: if a node of the cluster is unfit.
        KeyboardInterrupt: if the user asked twice to stop.
    """
    storage = Storage(job.storage_root)
    store = storage.sweep(sweep.name)
    job = replace(job, own_code=_code_of(sweep))
    preflight = options.preflight if options.on_cluster else None
    if preflight and lease:
        job = replace(job, requirements=preflight.requirements(sweep.name, lease, _digests(sweep)))
    stopping = Stopping(store.request_stop, options.budget_seconds, lost=lambda: lease is not None and lease.lost)
    attempts = Attempts(job, sweep.by_id, lambda: stopping.requested, stopping.ask)
    with ExitStack() as stack:
        stack.callback(stopping.cancel)
        stack.enter_context(handlers_kept())  # Ray replaces a signal handler

        def on_start() -> None:
            if preflight:
                log.info("checking the nodes")
                preflight.check_nodes(storage, {trial.data for trial in sweep.trials})
            options.before_trials()
            stack.enter_context(stopping.on_signals())  # after Ray has set its own handlers
            stack.enter_context(progress)

        engine(options, sweep.resources).run(attempts, on_start)
    if store.stop_requested:
        log.info("Stopped on request. Run the same command again to continue.")


def engine(options: RunOptions, resources: Resources) -> Engine:
    """Returns the engine selected by the options."""
    if options.engine == "local":
        return LocalEngine(resources, options.max_concurrent)
    return RayEngine(resources, options.max_concurrent, options.address)


def _code_of(sweep: Sweep) -> dict[str, str]:
    from orchestrator.training.user_code.own_code import code_digests, named_modules, own_code

    trials = {frozenset(named_modules(trial)): trial for trial in sweep.trials}
    return {module: digest for trial in trials.values() for module, digest in code_digests(own_code(trial)).items()}


def _digests(sweep: Sweep) -> dict[Data, str]:
    from orchestrator.trial import data_digest

    return {trial.data: data_digest(trial, Resources()) for trial in sweep.trials}


def _store_gallery(sweep: Sweep, store: SweepStore) -> None:
    from orchestrator.preparation import store_gallery

    store_gallery(sweep, store)

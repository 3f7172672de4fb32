"""Runs a sweep: takes its lease, notes what is desired, computes what is missing, says how that went."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.local import run_local
from orchestrator.scheduling.engines.ray import run_ray
from orchestrator.scheduling.engines.worker import Work
from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.scheduling.preflight import Preflight
from orchestrator.scheduling.progress import Progress
from orchestrator.scheduling.stopping import Stopping, handlers_kept
from orchestrator.store.ownership.lease import Lease
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import SweepStore
from orchestrator.study.sweep import Resources, Sweep

Engine = Literal["ray", "local"]


@dataclass(frozen=True)
class EngineOptions:
    """Where trials run, and how many at a time."""

    engine: Engine
    address: str | None = None
    """Of a Ray cluster; None starts one here."""
    max_concurrent: int | None = None
    """Trials at a time, where the engine would run more."""
    budget_seconds: float | None = None
    """After which trials are asked to end after their epoch."""
    preflight: Preflight | None = None
    """Checks the nodes of a cluster that is not this machine's own; None trusts them."""


def run_sweep(
    sweep: Sweep,
    storage: Storage,
    console: Console,
    *,
    engine: Engine,
    address: str | None = None,
    max_concurrent: int | None = None,
    budget_seconds: float | None = None,
    verify: bool = False,
    preflight: Preflight | None = None,
    on_manifest: Callable[[], None] = lambda: None,
    before_trials: Callable[[], None] = lambda: None,
) -> Plan:
    """Does what is desired and not yet stored, nothing else. Returns how the trials stand in the end.

    Args:
        sweep: what is desired.
        storage: what is stored.
        console: where progress is shown.
        engine: ``ray``, or ``local`` for plain processes.
        address: of a Ray cluster; None starts one here.
        max_concurrent: trials at a time, where the engine would run more.
        budget_seconds: after which trials are asked to end after their epoch.
        verify: read every stored epoch first, so that all that is damaged is computed again.
        preflight: checks the nodes of a cluster that is not this machine's own; None trusts them.
        on_manifest: called once the sweep can be read from the storage.
        before_trials: called when the engine is up, before the first trial is scheduled.

    Raises:
        StorageError: where the storage cannot be written.
        LeaseHeldError: where another driver is at work on the sweep.
        LeaseLostError: where another host's driver has taken over, since this one was not heard of.
        DataError: where a data set is missing or damaged.
        ValueError: where a model, batch size or augmentation does not fit its data.
        ModelCodeError: where the code of a network of the user's own raises.
        ConnectionError: where there is no Ray cluster at the address, or Ray died and could not be started again.
        UnfitNodesError: where a node of the cluster has other software, data, storage or time than the driver.
        KeyboardInterrupt: where the user insisted on stopping at once.
    """
    storage.files.check_writable()
    store = storage.sweep(sweep.name)
    with store.driver_lease_with(on_lost=interrupt) as lease:
        store.clear_stop()
        store.write_manifest(sweep, capture())
        on_manifest()
        if verify:
            storage.verify(sweep.by_id)
        todo = reconcile(sweep, storage).todo
        if not todo:
            console.print("nothing left to do")
        else:
            prepare(sweep, console)
            _note_images(sweep, store)
            work, progress = Work(str(storage.root), sweep.name, lease.number), Progress(sweep, storage, console)
            options = EngineOptions(engine, address, max_concurrent, budget_seconds, preflight)
            compute(work, todo, sweep, store, console, progress, options, before_trials, lease)
    return reconcile(sweep, storage)


def prepare(sweep: Sweep, console: Console) -> None:
    """Reads the data and builds the models of a sweep, so that what is wrong with them is said before it begins.

    Args:
        sweep: its trials name the data and the models.
        console: shows what is done.

    Raises:
        DataError: where data is missing or damaged.
        ValueError: where a model cannot be built.
    """
    from orchestrator.training.models.user_code import (
        importable_from,  # torch, only where there is something to compute
    )
    from orchestrator.trial import check_models, prepare_data

    with console.status("reading the data"):
        prepare_data(sweep)
    with console.status("building the models"):
        importable_from(str(Path.cwd()))
        check_models(sweep)


def compute(
    work: Work,
    trial_ids: list[str],
    sweep: Sweep,
    store: SweepStore,
    console: Console,
    progress: Progress,
    options: EngineOptions,
    before_trials: Callable[[], None] = lambda: None,
    lease: Lease | None = None,
) -> None:
    """Does some work for trials on an engine, shows its progress, and lets the user stop it.

    Where its `lease` is lost it is stopped at once, by KeyboardInterrupt. The nodes of a cluster are asked first.

    Raises:
        ConnectionError: where there is no Ray cluster at the address, or Ray died and could not be started again.
        UnfitNodesError: where a node of the cluster has other software, data, storage or time than the driver.
        KeyboardInterrupt: where the user insisted on stopping at once.
    """
    say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    far = options.engine == "ray" and options.address not in (None, "local")
    preflight = options.preflight if far else None
    if preflight and lease:
        from orchestrator.trial import data_digest  # torch, only where there is something to compute

        chosen = [sweep.by_id[trial_id] for trial_id in trial_ids]
        digests = {trial.data: data_digest(trial, Resources()) for trial in chosen}
        work = replace(work, requirements=preflight.requirements(sweep.name, lease, digests))
    stopping = Stopping(store.request_stop, say, options.budget_seconds, lost=lambda: lease is not None and lease.lost)
    attempts = Attempts(work, trial_ids, say, lambda: stopping.requested, stopping.ask, gpu=sweep.resources.gpu > 0)
    with ExitStack() as stack:
        stack.callback(stopping.cancel)
        stack.enter_context(handlers_kept())  # Ray sets one and leaves it

        def start() -> None:
            if preflight:
                with console.status("asking the nodes"):
                    data = {sweep.by_id[trial_id].data for trial_id in trial_ids}
                    preflight.check_nodes(Storage(work.storage_root), data)
            before_trials()
            # After Ray has begun, which sets handlers of its own.
            stack.enter_context(stopping.on_signals())
            stack.enter_context(progress)

        if options.engine == "local":
            run_local(attempts, sweep.resources, options.max_concurrent, start)
        else:
            run_ray(attempts, sweep.resources, options.max_concurrent, options.address, start)
    if store.stop_requested:
        say("Stopped as asked; the same command goes on from here.")


def interrupt() -> None:
    """Interrupts this process's main thread, as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def _note_images(sweep: Sweep, store: SweepStore) -> None:
    from orchestrator.trial import note_images  # torch, only where there is something to compute

    note_images(sweep, store)

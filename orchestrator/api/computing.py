"""Plans, runs and remeasures a sweep."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from orchestrator.api.console import Overview, default_console, messages, say
from orchestrator.api.sweeps import desired, stored_or_loaded
from orchestrator.checks.preflight import ClusterPreflight
from orchestrator.scheduling.driver import run_sweep
from orchestrator.scheduling.forecast.estimate import Status, own_code
from orchestrator.scheduling.forecast.show import damage, failures, forecast, missing, split
from orchestrator.scheduling.forecast.time_spent import spending
from orchestrator.scheduling.inputs import compare_inputs
from orchestrator.scheduling.options import EngineName, RunOptions
from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.scheduling.remeasuring.change import read_change, with_resources
from orchestrator.scheduling.remeasuring.status import SweepRemeasurement, shortcomings
from orchestrator.scheduling.remeasuring.sweep import remeasure_sweep
from orchestrator.scheduling.stopping import read_budget
from orchestrator.store.storage import Storage
from orchestrator.study.overrides import override_texts
from orchestrator.study.sweep import Sweep

STORAGE = "./results"
TRACKER = "sqlite:///mlflow.db"


def plan(
    sweep: Sweep | str,
    storage: str = STORAGE,
    *,
    engine: EngineName = "ray",
    max_concurrent: int | None = None,
) -> Overview:
    """Returns all trials, the missing records, and how long they would take on this machine.

    The time is estimated by running parts of the trials for a few seconds. Stores and downloads nothing.

    Args:
        sweep: a sweep, its name, or the path of its file.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.
        engine: ``ray`` or ``local``.
        max_concurrent: maximum number of trials at a time.
    """
    store = Storage(storage)
    current = reconcile(desired(sweep, None, store), store)
    return Overview(current, tuple(plan_lines(current, store, engine, max_concurrent, default_console().status)))


def plan_lines(
    current: Plan, storage: Storage, engine: EngineName, max_concurrent: int | None, waiting: Status
) -> Iterator[str]:
    """Yields what a plan shows below its table. `waiting` shows what is being done."""
    yield current.summary
    yield from damage(current)
    yield from own_code(current)
    with waiting("comparing data and code with those of stored trials"):
        compared = compare_inputs(current, storage, decode=True)
    yield from compared.lines
    yield from forecast(current, engine, max_concurrent, waiting)


def run(
    sweep: Sweep | str,
    storage: str = STORAGE,
    *,
    tracking_uri: str | None = None,
    engine: EngineName = "ray",
    address: str | None = None,
    max_concurrent: int | None = None,
    budget: str | None = None,
    verify: bool = False,
    accept_changed_code: bool = False,
    console: Console | None = None,
) -> Plan:
    """Trains and measures the records of a sweep that are missing in the storage, and uploads them to MLflow.

    An interrupt stops the run after the next records, a second one at once. Nothing is lost; the same call continues.
    In a script, call it under ``if __name__ == "__main__":``, because trials run in processes that import the script.

    Args:
        sweep: a sweep, its name, or the path of its file.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.
        tracking_uri: MLflow's tracking URI. None: ``$MLFLOW_TRACKING_URI``, or ``sqlite:///mlflow.db``.
        engine: ``ray``, or ``local`` for plain processes on this machine.
        address: address of a Ray cluster. None: ``$RAY_ADDRESS``, or a Ray of its own on this machine.
        max_concurrent: maximum number of trials at a time.
        budget: time after which trials stop after their next record, such as ``2h``.
        verify: read all stored records first, to find damaged ones.
        accept_changed_code: keep stored trials even if the user's own code changed since.
        console: shows progress; None prints to standard output, or into the notebook.

    Returns:
        The state of all trials after the run. ``todo`` is empty if all are done.

    Raises:
        ValueError: if the sweep, a model or an option is invalid.
        StorageError: if the storage cannot be written.
        LeaseHeldError: if another driver is running the sweep.
    """
    from orchestrator.tracking.background import BackgroundShipper

    store, console = Storage(storage), console or default_console()
    wanted = desired(sweep, None, store)
    shipper = BackgroundShipper(store, wanted.name, tracker(tracking_uri))
    options = RunOptions(
        engine,
        address or os.environ.get("RAY_ADDRESS"),
        max_concurrent,
        read_budget(budget),
        verify=verify,
        accept_changed_code=accept_changed_code,
        preflight=ClusterPreflight(),
        on_manifest=shipper.start,
        before_trials=shipper.wait_until_ready,
    )
    with messages(console):
        result = run_sweep(wanted, store, console, options)
        found = spending(result, store)
        for line in (result.summary, *failures(result), *missing(found), *split(found.spent)):
            say(console, line)
        shipper.wait_until_shipped()
    return result


def measure(
    sweep: Sweep | str,
    changes: Mapping[str, Any],
    storage: str = STORAGE,
    *,
    every: int = 1,
    tracking_uri: str | None = None,
    engine: EngineName = "ray",
    address: str | None = None,
    max_concurrent: int | None = None,
    budget: str | None = None,
    accept_changed_code: bool = False,
    console: Console | None = None,
) -> SweepRemeasurement:
    """Measures the stored checkpoints of a sweep with other settings. MLflow shows the results as new metrics.

    Args:
        sweep: a sweep, its name, or the path of its file.
        changes: settings by dotted key, such as ``{"measurement.fraction": 1.0}``.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.
        every: only records whose number is a multiple of this are measured.
        tracking_uri: see `run`.
        engine: see `run`.
        address: see `run`.
        max_concurrent: see `run`.
        budget: see `run`.
        accept_changed_code: see `run`.
        console: see `run`.

    Raises:
        ValueError: if a setting is invalid, or nothing would change.
        StorageError: if the sweep was never run with this storage.
    """
    from orchestrator.tracking.background import ship_now

    store, console, uri = Storage(storage), console or default_console(), tracker(tracking_uri)
    stored, _ = store.sweep(stored_or_loaded(sweep, store).name).read_manifest()
    stored, settings = with_resources(stored, override_texts(changes))
    change = read_change(settings, stored)
    options = RunOptions(
        engine,
        address or os.environ.get("RAY_ADDRESS"),
        max_concurrent,
        read_budget(budget),
        accept_changed_code=accept_changed_code,
        preflight=ClusterPreflight(),
    )
    with messages(console):
        result = remeasure_sweep(stored, store, console, change, every, options)
        for line in (result.summary, *shortcomings(result, every)):
            say(console, line)
        if result.measured:
            ship_now(store, stored.name, uri)
    return result


def tracker(tracking_uri: str | None) -> str:
    """Returns an absolute tracking URI: the given one, that of the environment, or the default."""
    from orchestrator.tracking.address import absolute_uri

    return absolute_uri(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or TRACKER)

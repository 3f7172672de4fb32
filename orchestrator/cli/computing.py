"""The commands that compute: plan, run, trial, measure."""

import tempfile
from typing import Annotated

import typer

from orchestrator.cli.options import (
    AddressOption,
    ConcurrencyOption,
    EngineOption,
    SetOption,
    StorageOption,
    SweepArgument,
    TrackingOption,
    stored_or_loaded,
)
from orchestrator.cli.terminal import app, console, interruptible, say
from orchestrator.scheduling.change import read_change
from orchestrator.scheduling.driver import EngineOptions, run_sweep
from orchestrator.scheduling.estimate import own_code
from orchestrator.scheduling.measuring import measure_sweep, shortcomings
from orchestrator.scheduling.reconcile import reconcile
from orchestrator.scheduling.show import failures, forecast, split, table
from orchestrator.scheduling.spent import spending
from orchestrator.store.layout import Storage
from orchestrator.study.sweep import load_sweep


@app.command()
def plan(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    override: SetOption = None,
    engine: EngineOption = "ray",
    max_concurrent: ConcurrencyOption = None,
) -> None:
    """Shows every trial, what is still missing, and how long that takes here, from a probe of some seconds.

    Stores and downloads nothing. Where the time cannot be measured it says why, and the exit code is 0 all the same.
    """
    standing = reconcile(load_sweep(sweep, override or ()), Storage(storage))
    console.print(table(standing))
    for line in (standing.summary, *own_code(standing)):
        say(line)
    for line in forecast(standing, engine, max_concurrent, console.status):
        say(line)


@app.command()
def run(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    override: SetOption = None,
    engine: EngineOption = "ray",
    address: AddressOption = None,
    max_concurrent: ConcurrencyOption = None,
) -> None:
    """Computes what a sweep desires and the storage does not have, and shows it in MLflow.

    Ctrl-C lets every trial finish its epoch; the same command goes on from there.
    """
    from orchestrator.tracking.address import absolute_uri
    from orchestrator.tracking.following import Following

    desired, store = load_sweep(sweep, override or ()), Storage(storage)
    following = Following(store, desired.name, absolute_uri(tracking_uri), say)
    with interruptible(desired.name):
        result = run_sweep(
            desired,
            store,
            console,
            engine=engine,
            address=address,
            max_concurrent=max_concurrent,
            on_manifest=following.start,
            before_trials=following.wait_until_ready,
        )
    for line in (result.summary, *failures(result), *split(spending(result, store).spent)):
        say(line)
    following.wait_until_shipped()
    raise typer.Exit(0 if not result.todo else 1)


@app.command()
def trial(
    sweep: SweepArgument,
    trial_id: Annotated[str, typer.Argument(metavar="ID", help="The trial's id, or enough of its beginning.")],
    storage: StorageOption = "./results",
    override: SetOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare every number with what is stored.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Compute into the storage, from where the trial stands.")
    ] = False,
) -> None:
    """Runs one trial here, in this process, without Ray: for a debugger, or to check that it can be reproduced.

    It runs in a scratch folder and touches neither the storage nor MLflow, unless it is adopted.
    """
    from orchestrator.rerun import rerun

    desired, store = load_sweep(sweep, override or ()), Storage(storage)
    config = desired.find(trial_id)
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-trial-") as scratch:
        target = store if adopt else Storage(scratch)
        keeps = desired.keeps if adopt else lambda epoch: False
        same = rerun(config, desired.resources, target, store if compare else None, console, keeps)
    raise typer.Exit(0 if same else 1)


@app.command()
def measure(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="measurement.KEY=VALUE", help="What to measure otherwise than in training."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Only epochs that are multiples of it.")] = 1,
    engine: EngineOption = "ray",
    address: AddressOption = None,
    max_concurrent: ConcurrencyOption = None,
) -> None:
    """Estimates again, or something else, from the checkpoints of a sweep, and shows it as new keys of its runs.

    `hessian-dynamics measure night --set measurement.fraction=1.0 --every 10` uses all training images. Checkpoints
    stay where the sweep says so, `keep_checkpoints: every 10`; the last two of a trial are always there. What is
    measured already is not measured again. Ctrl-C lets every trial finish its checkpoint.
    """
    from orchestrator.tracking.address import absolute_uri
    from orchestrator.tracking.afterwards import ship_afterwards

    store, uri = Storage(storage), absolute_uri(tracking_uri)
    stored, _ = store.sweep(stored_or_loaded(sweep, store).name).read_manifest()
    change = read_change(override or (), stored)
    with interruptible(stored.name):
        result = measure_sweep(stored, store, console, change, every, EngineOptions(engine, address, max_concurrent))
    for line in (result.summary, *shortcomings(result, every)):
        say(line)
    if result.measured:
        ship_afterwards(store, stored.name, uri, say)
    raise typer.Exit(1 if result.failures or result.todo else 0)

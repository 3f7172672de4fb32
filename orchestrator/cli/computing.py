"""Commands that compute: plan, run, trial, measure."""

import tempfile
from typing import Annotated

import typer

from orchestrator.api import computing
from orchestrator.api.sweeps import desired, stored_or_loaded
from orchestrator.cli.options import (
    AcceptCodeOption,
    AddressOption,
    BudgetOption,
    ConcurrencyOption,
    EngineOption,
    SetOption,
    StorageOption,
    SweepArgument,
    TrackingOption,
)
from orchestrator.cli.terminal import app, console, interruptible, say
from orchestrator.scheduling.forecast.show import table
from orchestrator.scheduling.placement import on_this_machine
from orchestrator.scheduling.plan import reconcile
from orchestrator.store.ownership.claims import Owner
from orchestrator.store.storage import Storage
from orchestrator.study.overrides import parse_overrides


@app.command()
def plan(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    override: SetOption = None,
    engine: EngineOption = "ray",
    max_concurrent: ConcurrencyOption = None,
) -> None:
    """Shows all trials, the missing records, and how long they would take on this machine.

    The time is estimated by running parts of the trials for a few seconds. No result is stored and nothing is
    downloaded. If the time cannot be estimated, the reason is shown and the exit code is still 0.
    """
    store = Storage(storage)
    current = reconcile(desired(sweep, override, store), store)
    console.print(table(current), crop=False)
    for line in computing.plan_lines(current, store, engine, max_concurrent, console.status):
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
    budget: BudgetOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all stored records first, to find damaged ones.")
    ] = False,
    accept_changed_code: AcceptCodeOption = False,
) -> None:
    """Computes the records of a sweep that are missing in the storage, and uploads the results to MLflow.

    Ctrl-C stops the run after the next records; a second Ctrl-C stops it at once. SIGTERM, closing the terminal and
    `--budget` also stop it after the next records. Run the same command again to continue.

    Records that are known to be damaged are computed again. `--verify` checks all stored records first.

    If the images or your own code differ from those behind stored trials, the run is refused before anything starts.

    Exit codes: 0 if all trials are done, 1 if some are missing, 2 if the run could not start, 130 if it was stopped at
    once.
    """
    wanted = desired(sweep, override, Storage(storage))
    with interruptible(wanted.name):
        result = computing.run(
            wanted,
            storage,
            tracking_uri=tracking_uri,
            engine=engine,
            address=address,
            max_concurrent=max_concurrent,
            budget=budget,
            verify=verify,
            accept_changed_code=accept_changed_code,
            console=console,
        )
    raise typer.Exit(0 if not result.todo else 1)


@app.command()
def trial(
    sweep: SweepArgument,
    trial_id: Annotated[str, typer.Argument(metavar="ID", help="The trial's id, or its first characters.")],
    storage: StorageOption = "./results",
    override: SetOption = None,
    compare: Annotated[bool, typer.Option("--compare", help="Compare all numbers with the stored ones.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Continue the trial in the storage instead of a scratch folder.")
    ] = False,
) -> None:
    """Runs one trial in this process, for debugging or to check that its results can be reproduced.

    It runs in a scratch folder and leaves the storage unchanged, except with `--adopt`. MLflow is not used. With
    `--compare` the exit code is 1 if a number differs.
    """
    from orchestrator.rerun import rerun
    from orchestrator.training.allocator import keep_freed_memory
    from orchestrator.trial import TrialOptions

    keep_freed_memory()
    if compare and adopt:
        raise ValueError("--compare and --adopt are both given, expected one: a trial in the storage equals itself")
    store = Storage(storage)
    wanted = desired(sweep, override, store)
    config = wanted.find(trial_id)
    resources = on_this_machine(wanted.resources)
    stored = store if compare else None
    if adopt:
        with store.sweep(wanted.name).driver_lease as lease:
            owner = Owner(wanted.name, lease.number)
            options = TrialOptions(resources, keeps=wanted.keeps, owner=owner)
            same = rerun(config, store, options, console, stored)
    else:
        with tempfile.TemporaryDirectory(prefix="hessian-dynamics-trial-") as scratch:
            same = rerun(config, Storage(scratch), TrialOptions(resources), console, stored)
    raise typer.Exit(0 if same else 1)


@app.command()
def measure(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="measurement.KEY=VALUE",
            help="Change a setting of the measurement. `resources.KEY=VALUE` changes the resources of each trial.",
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(min=1, help="Measure only records whose numbers are multiples of this one.")
    ] = 1,
    engine: EngineOption = "ray",
    address: AddressOption = None,
    max_concurrent: ConcurrencyOption = None,
    budget: BudgetOption = None,
    accept_changed_code: AcceptCodeOption = False,
) -> None:
    """Measures the stored checkpoints of a sweep with other settings. MLflow shows the results as new metrics.

    For example, `hessian-dynamics measure laptop --set measurement.fraction=1.0 --every 10` measures on all training
    images.

    The last two checkpoints of a trial are always kept; `keep_checkpoints: every 10` in the sweep file keeps more.
    Checkpoints already measured with these settings are skipped. Ctrl-C stops after the current checkpoints. The exit
    codes are the same as for `run`.
    """
    stored = stored_or_loaded(sweep, Storage(storage))
    with interruptible(stored.name):
        result = computing.measure(
            stored,
            parse_overrides(override or ()),
            storage,
            every=every,
            tracking_uri=tracking_uri,
            engine=engine,
            address=address,
            max_concurrent=max_concurrent,
            budget=budget,
            accept_changed_code=accept_changed_code,
            console=console,
        )
    raise typer.Exit(1 if result.failures or result.todo else 0)

"""The command line: composes the rooms, holds no logic of its own."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from orchestrator.scheduling.change import read_change
from orchestrator.scheduling.driver import Engine, EngineOptions, run_sweep
from orchestrator.scheduling.estimate import own_code
from orchestrator.scheduling.measuring import measure_sweep, measured_again, shortcomings
from orchestrator.scheduling.reconcile import reconcile
from orchestrator.scheduling.show import failures, forecast, progress, split, table
from orchestrator.scheduling.spent import spending
from orchestrator.store.files import StorageError
from orchestrator.store.layout import Storage
from orchestrator.store.lease import LeaseHeldError
from orchestrator.study.sweep import Sweep, load_sweep

if TYPE_CHECKING:
    from orchestrator.store.frames import Frames

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Trains the models of a sweep and measures the Hessian of the loss after every epoch.\n\n"
    "`hessian-dynamics run quickstart` is a good beginning; `make ui` shows the curves.",
)
console = Console()
errors = Console(stderr=True)

SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of one in `sweeps/`.")]
StorageOption = Annotated[str, typer.Option("--storage", help="Folder of all results; sweeps share trials there.")]
TrackingOption = Annotated[
    str, typer.Option("--tracking-uri", envvar="MLFLOW_TRACKING_URI", show_envvar=True, help="Where MLflow lies.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value: `--set optimizer.lr=0.1`. Makes another sweep."),
]
EngineOption = Annotated[Engine, typer.Option(help="Ray, or plain processes of this machine.")]
AddressOption = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Of a Ray cluster; without one, Ray is started here.")
]
Source = Literal["store", "mlflow"]
SourceOption = Annotated[Source, typer.Option("--from", help="Where the numbers are read: the storage, or MLflow.")]
ConcurrencyOption = Annotated[int | None, typer.Option(min=1, help="At most so many trials at a time.")]


def say(line: str) -> None:
    """Prints a line as it is, however wide the terminal."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


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
    with _interruptible(desired.name):
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
def status(sweep: SweepArgument, storage: StorageOption = "./results") -> None:
    """Shows how the trials of a sweep stand, from the storage alone: during a run and after."""
    store = Storage(storage)
    desired = _stored_or_loaded(sweep, store)
    standing = reconcile(desired, store)
    console.print(table(standing))
    for line in (standing.summary, *failures(standing), *measured_again(desired, store), *progress(standing, store)):
        say(line)
    holder = store.sweep(desired.name).driver_lease.holder()
    say(f"driver: {holder}" if holder else "driver: none at work")
    shipper = store.sweep(desired.name).shipper_status()
    if shipper:
        say(f"tracker: {shipper.message or shipper.state}, {shipper.pending_epochs} epochs to ship")


@app.command()
def ship(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the sweep's driver has ended.")] = False,
) -> None:
    """Copies what is stored of a sweep into MLflow. Shipping twice changes nothing; an empty tracker is filled."""
    from orchestrator.tracking.address import absolute_uri
    from orchestrator.tracking.shipper import ship as ship_sweep

    store = Storage(storage)
    name = _stored_or_loaded(sweep, store).name
    result = ship_sweep(store, name, absolute_uri(tracking_uri), follow, say)
    raise typer.Exit(0 if result.complete else 1)


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
    stored, _ = store.sweep(_stored_or_loaded(sweep, store).name).read_manifest()
    change = read_change(override or (), stored)
    with _interruptible(stored.name):
        result = measure_sweep(stored, store, console, change, every, EngineOptions(engine, address, max_concurrent))
    for line in (result.summary, *shortcomings(result, every)):
        say(line)
    if result.measured:
        ship_afterwards(store, stored.name, uri, say)
    raise typer.Exit(1 if result.failures or result.todo else 0)


@app.command()
def export(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    source: SourceOption = "store",
    to: Annotated[str | None, typer.Option("--to", metavar="FOLDER", help="Where the files go.")] = None,
) -> None:
    """Writes a sweep as tables: `epochs.parquet`, `trials.parquet`, and the raw samples in `samples.parquet`.

    They lie beside the sweep in the storage unless told otherwise. From MLflow they are the same, or there is an error.
    """
    store = Storage(storage)
    frames = _frames(sweep, store, source, tracking_uri)
    files = frames.write(Path(to) if to else store.sweep(frames.sweep.name).folder / "export")
    say(f"{frames.points:,} points of {len(frames.trials)} trials, {len(frames.epochs):,} epochs")
    for file in files:
        say(str(file))


@app.command()
def report(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    source: SourceOption = "store",
    by: Annotated[str | None, typer.Option(metavar="KEY", help="Groups of Figure 1: `optimizer.lr`.")] = None,
) -> None:
    """Writes `report.html` of a sweep, finished or not: verdicts, tables, figures, and what is missing where.

    Every figure lies beside it as SVG with its numbers as CSV. The sweep's run in MLflow gets all of it too.
    """
    from orchestrator.analysis.report import write_report
    from orchestrator.tracking.report import log_report

    store = Storage(storage)
    frames = _frames(sweep, store, source, tracking_uri)
    name = frames.sweep.name
    with console.status("writing the report"):
        written = write_report(frames, store.sweep(name).folder / "report", by)
    for verdict in written.verdicts:
        say(f"conjecture {verdict.conjecture}: {verdict.outcome.value}. {verdict.sentence}")
    if written.missing:
        say(f"not drawn, the page says why: {', '.join(written.missing)}")
    say(log_report(store, name, tracking_uri, written.page.parent))
    say(str(written.page))


@app.command()
def doctor(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Checks its data and models too.")] = None,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    address: AddressOption = None,
) -> None:
    """Checks what a run needs: packages, devices, folders, data, tracker; says what to do where something is amiss.

    Changes nothing and downloads nothing. The exit code is 1 where there is a problem, 0 where there are only warnings.
    """
    from orchestrator.doctor import Mark, examine, summary

    store = Storage(storage)
    load = (lambda: _stored_or_loaded(sweep, store)) if sweep else None
    found = []
    with console.status("looking"):
        for check in examine(store, tracking_uri, address, load):
            console.print(check.shown(), soft_wrap=True)
            found.append(check)
    say(summary(found))
    raise typer.Exit(1 if any(check.mark is Mark.PROBLEM for check in found) else 0)


def _frames(sweep: str, store: Storage, source: Source, tracking_uri: str) -> "Frames":
    if source == "mlflow":
        from orchestrator.tracking.read_back import frames_from_mlflow

        name = sweep if "/" not in sweep and not sweep.endswith((".yaml", ".yml")) else load_sweep(sweep).name
        return frames_from_mlflow(name, tracking_uri)
    from orchestrator.store.frames import read_frames

    return read_frames(store, _stored_or_loaded(sweep, store).name)


def _stored_or_loaded(sweep: str, store: Storage) -> Sweep:
    return store.sweep(sweep).read_manifest()[0] if sweep in store.sweeps() else load_sweep(sweep)


@contextlib.contextmanager
def _interruptible(name: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. What is finished is kept; the same command goes on with sweep {name!r}.")
        raise typer.Exit(130) from None


def main() -> None:
    """Runs the command line; what the user can mend is said in a line, without a traceback."""
    try:
        app()
    except (ValueError, StorageError, LeaseHeldError, ModuleNotFoundError, ConnectionError) as error:
        errors.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

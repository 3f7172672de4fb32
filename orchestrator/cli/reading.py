"""Commands that read the storage or check the machine: status, ship, export, report, check, doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.api import reading
from orchestrator.api.sweeps import stored_or_loaded
from orchestrator.cli.findings import finding_line
from orchestrator.cli.options import AddressOption, SourceOption, StorageOption, SweepArgument, TrackingOption
from orchestrator.cli.terminal import app, console, say
from orchestrator.scheduling.forecast.show import table
from orchestrator.store.backends.location import S3Location
from orchestrator.store.storage import Storage

if TYPE_CHECKING:
    from orchestrator.store.frames import Frames

ExportFormat = Literal["parquet", "csv", "tensorboard"]


@app.command()
def status(sweep: SweepArgument, storage: StorageOption = "./results") -> None:
    """Shows the state of all trials of a sweep, during or after a run.

    Reads the storage, and compares image folders and your own code with those behind stored trials.
    """
    store = Storage(storage)
    state, lines = reading.status_lines(stored_or_loaded(sweep, store), store)
    console.print(table(state), crop=False)
    for line in lines:
        say(line)


@app.command()
def ship(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    follow: Annotated[bool, typer.Option("--follow", help="Continue until the run of the sweep has ended.")] = False,
) -> None:
    """Uploads the stored results of a sweep to MLflow. Results that are already there are not uploaded again."""
    from orchestrator.tracking.address import absolute_uri
    from orchestrator.tracking.shipper import ship as ship_sweep

    store = Storage(storage)
    name = stored_or_loaded(sweep, store).name
    result = ship_sweep(store, name, absolute_uri(tracking_uri), follow)
    raise typer.Exit(0 if result.complete else 1)


@app.command()
def export(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    source: SourceOption = "store",
    to: Annotated[str | None, typer.Option("--to", metavar="FOLDER", help="Folder for the files.")] = None,
    file_format: Annotated[
        ExportFormat, typer.Option("--format", help="The format of the tables, or event files for TensorBoard.")
    ] = "parquet",
) -> None:
    """Writes a sweep as the tables `epochs`, `trials`, and `samples`, which contains the raw samples.

    By default they are written into the sweep's folder in the storage. Tables read from MLflow are identical to those
    from the storage, except that infinities become NaN. If MLflow lacks some data, the command fails.

    `--format csv` writes vectors as JSON lists. `--format tensorboard` writes the scalars of every trial as event files
    into the folder `tensorboard`, with the keys and steps of MLflow; they have single precision.
    """
    if file_format == "tensorboard" and source == "mlflow":
        raise ValueError("event files for TensorBoard are written from the storage; remove --from mlflow")
    store = Storage(storage)
    frames = reading.frames(sweep, storage, from_mlflow=source == "mlflow", tracking_uri=tracking_uri)
    name = frames.sweep.name
    if frames.epochs.empty:
        where, first = ("storage", "run") if source == "store" else ("tracker", "ship")
        raise ValueError(
            f"sweep {name!r} has no records in the {where}; {first} it first: hessian-dynamics {first} {name}"
        )
    own = store.sweep(name)
    files = _write(frames, store, Path(to) if to else own.folder / "export", file_format)
    published = None if to else own.publish(own.folder / "export")
    say(f"{frames.points:,} points of {len(frames.trials)} trials, {len(frames.epochs):,} {frames.sweep.unit}s")
    for file in files:
        say(str(file))
    if published and isinstance(store.root, S3Location):
        say(f"in the storage: {published}")


def _write(frames: "Frames", store: Storage, folder: Path, file_format: ExportFormat) -> list[Path]:
    """Writes the files of an export. Returns the paths to show."""
    if file_format == "tensorboard":
        from orchestrator.store.export.event_files import write_event_files

        write_event_files(store, frames.sweep.name, folder / "tensorboard")
        return [folder / "tensorboard"]
    from orchestrator.store.export.tables import write_tables

    return write_tables(frames, folder, file_format)


@app.command()
def report(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    source: SourceOption = "store",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Setting that groups the trials in Figure 1 and conjecture 1, such as `optimizer.lr`."
        ),
    ] = None,
) -> None:
    """Writes `report.html` for a sweep, finished or not: verdicts, tables, figures, and what is missing.

    Each figure is also written as SVG, with its numbers as CSV. All files are uploaded to MLflow as artifacts of the
    sweep's run.
    """
    from orchestrator.analysis.expectations.judgement import summary
    from orchestrator.tracking.runs.sweep_run import log_report

    store = Storage(storage)
    frames = reading.frames(sweep, storage, from_mlflow=source == "mlflow", tracking_uri=tracking_uri)
    with console.status("writing the report"):
        written = reading.written_report(sweep, store, frames, by)
    for verdict in written.verdicts:
        say(f"conjecture {verdict.conjecture}: {verdict.outcome.value}. {verdict.sentence}")
    if written.judgements:
        say(repr(written.judgements))
    if written.missing:
        say(f"figures not drawn (the page explains why): {', '.join(written.missing)}")
    say(log_report(store, frames.sweep.name, tracking_uri, written.page.parent, summary(written.judgements)))
    if written.published:
        say(f"in the storage: {written.published}")
    say(str(written.page))


@app.command()
def check(
    sweep: SweepArgument,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    source: SourceOption = "store",
) -> None:
    """Judges the results of a sweep by the expectations in its file (`expect:`).

    An expectation is reproduced if the 90% interval of the mean over seeds lies in the accepted range. The exit code
    is 0 if all are reproduced, 1 if any is not, and 3 if some lack data and none is contradicted.
    """
    from orchestrator.analysis.expectations import Outcome

    found = reading.frames(sweep, storage, from_mlflow=source == "mlflow", tracking_uri=tracking_uri)
    judgements = reading.judged(sweep, found)
    say(repr(judgements))
    if Outcome.NOT_REPRODUCED in judgements.outcomes:
        raise typer.Exit(1)
    raise typer.Exit(3 if Outcome.NOT_ENOUGH_DATA in judgements.outcomes else 0)


@app.command()
def doctor(
    sweep: Annotated[
        str | None, typer.Argument(metavar="[SWEEP]", help="Also check the data and models of this sweep.")
    ] = None,
    storage: StorageOption = "./results",
    tracking_uri: TrackingOption = "sqlite:///mlflow.db",
    address: AddressOption = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="Also check every node of the Ray cluster.")] = False,
) -> None:
    """Checks what a run needs: packages, devices, folders, data, tracker. Shows how to fix each problem.

    With `--cluster` it compares the versions, storage, data and clock of every node with this machine's, and the
    devices of the node with those that Ray offers. `run` makes the same checks on a cluster before it schedules trials.

    Changes and downloads nothing. The exit code is 1 if there is a problem, and 0 if there are only warnings.
    """
    from orchestrator.checks.doctor import Subject, examine
    from orchestrator.checks.finding import Severity, summary

    if cluster and not address:
        raise ValueError("--cluster checks the nodes of a Ray cluster: give its --address, or set RAY_ADDRESS")
    store = Storage(storage)
    load = (lambda: stored_or_loaded(sweep, store)) if sweep else None
    found = []
    with console.status("checking"):
        for finding in examine(Subject(store, tracking_uri, address, load, cluster)):
            console.print(finding_line(finding), soft_wrap=True)
            found.append(finding)
    say(summary(found))
    raise typer.Exit(1 if any(finding.severity is Severity.PROBLEM for finding in found) else 0)

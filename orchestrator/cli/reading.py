"""Commands that read the storage or check the machine: status, ship, export, report, check, doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.findings import finding_line
from orchestrator.cli.options import (
    AddressOption,
    Source,
    SourceOption,
    StorageOption,
    SweepArgument,
    TrackingOption,
    expectations,
    stored_or_loaded,
)
from orchestrator.cli.terminal import app, console, say
from orchestrator.counted import counted
from orchestrator.scheduling.forecast.show import damage, failures, progress, table
from orchestrator.scheduling.inputs import compare_inputs
from orchestrator.scheduling.plan import reconcile
from orchestrator.scheduling.remeasuring.status import remeasured_lines
from orchestrator.store.backends.location import S3Location
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep

if TYPE_CHECKING:
    from orchestrator.store.frames import Frames


@app.command()
def status(sweep: SweepArgument, storage: StorageOption = "./results") -> None:
    """Shows the state of all trials of a sweep, during or after a run.

    Reads the storage, and compares image folders and your own code with those behind stored trials.
    """
    store = Storage(storage)
    desired = stored_or_loaded(sweep, store)
    state = reconcile(desired, store)
    spent = progress(state, store)
    if store.suspects().keys() & desired.by_id.keys() - state.damaged.keys():  # found by `progress`
        state = reconcile(desired, store)
    console.print(table(state), crop=False)
    changed = compare_inputs(state, store, decode=False).lines
    for line in (state.summary, *damage(state), *failures(state), *changed, *remeasured_lines(desired, store), *spent):
        say(line)
    holder = store.sweep(desired.name).driver_lease.holder()
    say(f"driver: {holder}" if holder else "driver: none running")
    shipper = store.sweep(desired.name).shipper_status()
    if shipper:
        say(f"tracker: {shipper.message or shipper.state}, {counted(shipper.pending_epochs, 'epoch')} to ship")


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
) -> None:
    """Writes a sweep as tables: `epochs.parquet`, `trials.parquet`, and the raw samples in `samples.parquet`.

    By default they are written into the sweep's folder in the storage. Tables read from MLflow are identical to those
    from the storage, except that infinities become NaN. If MLflow lacks some data, the command fails.
    """
    store = Storage(storage)
    frames = _frames(sweep, store, source, tracking_uri)
    name = frames.sweep.name
    if frames.epochs.empty:
        where, first = ("storage", "run") if source == "store" else ("tracker", "ship")
        raise ValueError(
            f"sweep {name!r} has no epochs in the {where}; {first} it first: hessian-dynamics {first} {name}"
        )
    own = store.sweep(name)
    files = frames.write(Path(to) if to else own.folder / "export")
    published = None if to else own.publish(own.folder / "export")
    say(f"{frames.points:,} points of {len(frames.trials)} trials, {len(frames.epochs):,} {frames.sweep.unit}s")
    for file in files:
        say(str(file))
    if published and isinstance(store.root, S3Location):
        say(f"in the storage: {published}")


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
    from orchestrator.analysis.expectations.describe import lines
    from orchestrator.analysis.expectations.judgement import summary
    from orchestrator.analysis.report import write_report
    from orchestrator.tracking.runs.sweep_run import log_report

    store = Storage(storage)
    frames = _frames(sweep, store, source, tracking_uri)
    name = frames.sweep.name
    with console.status("writing the report"):
        expect = expectations(sweep, frames.sweep)
        written = write_report(frames, store.sweep(name).folder / "report", by, expect)
        published = store.sweep(name).publish(written.page.parent)
    for verdict in written.verdicts:
        say(f"conjecture {verdict.conjecture}: {verdict.outcome.value}. {verdict.sentence}")
    for line in lines(written.judgements):
        say(line)
    if written.missing:
        say(f"figures not drawn (the page explains why): {', '.join(written.missing)}")
    say(log_report(store, name, tracking_uri, written.page.parent, summary(written.judgements)))
    if isinstance(store.root, S3Location):
        say(f"in the storage: {published}")
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
    from orchestrator.analysis.expectations import Outcome, judge_expectations
    from orchestrator.analysis.expectations.describe import lines
    from orchestrator.analysis.expectations.judgement import summary

    frames = _frames(sweep, Storage(storage), source, tracking_uri)
    judgements = judge_expectations(frames, expectations(sweep, frames.sweep))
    if not judgements:
        raise ValueError(
            f"sweep {frames.sweep.name!r} states no expectations; add expect: to its file (docs/how-to/expectations.md)"
        )
    for line in lines(judgements):
        say(line)
    say(summary(judgements))
    found = {judgement.outcome for judgement in judgements}
    raise typer.Exit(1 if Outcome.NOT_REPRODUCED in found else 3 if Outcome.NOT_ENOUGH_DATA in found else 0)


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


def _frames(sweep: str, store: Storage, source: Source, tracking_uri: str) -> "Frames":
    if source == "mlflow":
        from orchestrator.tracking.read_back import frames_from_mlflow

        name = sweep if "/" not in sweep and not sweep.endswith((".yaml", ".yml")) else load_sweep(sweep).name
        return frames_from_mlflow(name, tracking_uri)
    from orchestrator.store.frames import read_frames

    return read_frames(store, stored_or_loaded(sweep, store).name)

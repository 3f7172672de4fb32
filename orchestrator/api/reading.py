"""Reads the results of a sweep: status, tables, report, judgements."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.api.computing import STORAGE, tracker
from orchestrator.api.console import Overview
from orchestrator.api.sweeps import expectations, stored_or_loaded
from orchestrator.counted import counted
from orchestrator.scheduling.forecast.show import damage, failures, progress
from orchestrator.scheduling.inputs import compare_inputs
from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.scheduling.remeasuring.status import remeasured_lines
from orchestrator.store.backends.location import S3Location
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep

if TYPE_CHECKING:
    from orchestrator.analysis.expectations import Judgements
    from orchestrator.analysis.report import Report
    from orchestrator.store.frames import Frames


def status(sweep: Sweep | str, storage: str = STORAGE) -> Overview:
    """Returns the state of all trials of a sweep, during or after a run.

    Args:
        sweep: a sweep, its name, or the path of its file.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.
    """
    store = Storage(storage)
    state, lines = status_lines(stored_or_loaded(sweep, store), store)
    return Overview(state, tuple(lines))


def status_lines(sweep: Sweep, store: Storage) -> tuple[Plan, Iterator[str]]:
    """Returns the state of a sweep, and what a status shows below its table."""
    state = reconcile(sweep, store)
    spent = progress(state, store)
    if store.suspects().keys() & sweep.by_id.keys() - state.damaged.keys():  # found by `progress`
        state = reconcile(sweep, store)
    return state, _lines(state, store, spent)


def _lines(state: Plan, store: Storage, spent: list[str]) -> Iterator[str]:
    changed = compare_inputs(state, store, decode=False).lines
    yield from (
        state.summary,
        *damage(state),
        *failures(state),
        *changed,
        *remeasured_lines(state.sweep, store),
        *spent,
    )
    own = store.sweep(state.sweep.name)
    holder = own.driver_lease.holder()
    yield f"driver: {holder}" if holder else "driver: none running"
    if shipper := own.shipper_status():
        yield f"tracker: {shipper.message or shipper.state}, {counted(shipper.pending_records, 'record')} to ship"


def frames(
    sweep: Sweep | str, storage: str = STORAGE, *, from_mlflow: bool = False, tracking_uri: str | None = None
) -> "Frames":
    """Returns the tables of a sweep: ``epochs``, ``trials`` and ``samples``, as pandas data frames.

    Args:
        sweep: a sweep, its name, or the path of its file.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.
        from_mlflow: read the numbers from MLflow instead of the storage.
        tracking_uri: MLflow's tracking URI. None: ``$MLFLOW_TRACKING_URI``, or ``sqlite:///mlflow.db``.

    Raises:
        StorageError: the sweep was never run with this storage.
    """
    if from_mlflow:
        from orchestrator.tracking.read_back import frames_from_mlflow

        return frames_from_mlflow(_name(sweep), tracker(tracking_uri))
    from orchestrator.store.frames import read_frames

    store = Storage(storage)
    return read_frames(store, stored_or_loaded(sweep, store).name)


def report(sweep: Sweep | str, storage: str = STORAGE, *, by: str | None = None) -> "Report":
    """Writes ``report.html`` with verdicts, tables and figures into the sweep's folder of the storage.

    Args:
        sweep: a sweep, its name, or the path of its file.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.
        by: setting that groups the trials in Figure 1 and conjecture 1, such as ``optimizer.lr``.
    """
    return written_report(sweep, Storage(storage), frames(sweep, storage), by)


def written_report(sweep: Sweep | str, store: Storage, found: "Frames", by: str | None) -> "Report":
    """Writes the report of the tables of a sweep, and publishes it in the storage."""
    from orchestrator.analysis.report import write_report

    own = store.sweep(found.sweep.name)
    written = write_report(found, own.folder / "report", by, expectations(sweep, found.sweep))
    published = own.publish(written.page.parent)
    return replace(written, published=published if isinstance(store.root, S3Location) else "")


def check(sweep: Sweep | str, storage: str = STORAGE) -> "Judgements":
    """Judges the results of a sweep by its expectations.

    Args:
        sweep: a sweep, its name, or the path of its file.
        storage: folder of the results, or ``s3://BUCKET/PREFIX``.

    Raises:
        ValueError: the sweep states no expectations.
    """
    return judged(sweep, frames(sweep, storage))


def judged(sweep: Sweep | str, found: "Frames") -> "Judgements":
    """Judges the tables of a sweep by its expectations."""
    from orchestrator.analysis.expectations import judge_expectations

    judgements = judge_expectations(found, expectations(sweep, found.sweep))
    if not judgements:
        raise ValueError(
            f"sweep {found.sweep.name!r} states no expectations; add expect: to its file (docs/how-to/expectations.md)"
        )
    return judgements


def _name(sweep: Sweep | str) -> str:
    if isinstance(sweep, Sweep):
        return sweep.name
    from orchestrator.study.sweep import load_sweep

    return sweep if "/" not in sweep and not sweep.endswith((".yaml", ".yml")) else load_sweep(sweep).name

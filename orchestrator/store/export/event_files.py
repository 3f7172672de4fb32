"""Writes the scalars of a sweep as event files, which TensorBoard shows."""

import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.store.storage import Storage
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record
from orchestrator.study.sweep import Sweep

_EVENT_FILES = "events.out.tfevents.*"


def write_event_files(storage: Storage, name: str, folder: Path) -> list[Path]:
    """Writes every scalar of a sweep, in a folder per trial. Replaces event files of an earlier call.

    Keys, steps and times are those in MLflow. Event files have single precision.

    Returns:
        The folders of the trials that have records.
    """
    sweep, _ = storage.sweep(name).read_manifest()
    written = []
    for trial_id, config in sweep.by_id.items():
        points = list(_points(storage.trial(trial_id), config))
        if points:
            written.append(folder / _run_name(sweep, config))
            _write(written[-1], points, config)
    return written


def _points(trial: TrialStore, config: TrialConfig) -> Iterator[tuple[str, Record]]:
    """Yields the records with the prefix of their keys. That of remeasured values is the label of the measurement."""
    numbers = [number for number in trial.numbers() if number <= config.records]
    yield from (("", trial.read(number).record) for number in numbers)
    for label in trial.remeasurements.labels():
        again = trial.remeasurements.records(label, max(numbers, default=-1))
        yield from ((f"{label}/", record) for record in again)


def _run_name(sweep: Sweep, config: TrialConfig) -> str:
    """The name of a trial in TensorBoard: what varies in the sweep, and the id."""
    return "_".join(filter(None, (re.sub(r"[^\w.=+-]+", "_", sweep.label(config))[:100], config.trial_id)))


def _write(folder: Path, points: list[tuple[str, Record]], config: TrialConfig) -> None:
    from tensorboardX import SummaryWriter

    for former in folder.glob(_EVENT_FILES):
        former.unlink()
    with SummaryWriter(str(folder)) as writer:
        for prefix, record in points:
            step, time = config.cadence.position(record.number), record.timestamp_ms / 1000
            for key, value in record.metrics().items():
                writer.add_scalar(f"{prefix}{key}", value, step, time)

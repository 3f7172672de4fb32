"""Curvature again, or another, from the checkpoints of a trial: where the measurement meets the store."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace

import torch

from orchestrator.store.errors import StorageError
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.remeasurement_status import remeasurement_status
from orchestrator.store.remeasurements import Remeasurement
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.study.sweep import Resources
from orchestrator.training.data.datasets import ResidentData, load_data
from orchestrator.training.environment import describe, reproducible
from orchestrator.training.loop import load_model
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.trial import device_of, refuse_other_data


def remeasure(
    config: TrialConfig,
    measurement: MeasurementConfig,
    store: TrialStore,
    label: str,
    resources: Resources,
    every: int = 1,
    stop_requested: Callable[[], bool] = lambda: False,
    command: str | None = None,
) -> None:
    """Measures the epochs of a trial whose checkpoints are there, and stores what they give under `label`.

    What is there already is not measured again. Model, streams and threads are those of the trial: an estimator that
    `measurement` leaves as it was gives what it gave, bit for bit.

    Raises:
        DataError: where the data is not what the trial was trained on.
        StorageError: where a checkpoint is damaged; all others have been measured by then.
    """
    commits = remeasurement_status(store, config, label, every).due
    if not commits:
        return
    device = device_of(resources)
    damaged: list[str] = []
    with reproducible(resources.cpu):
        data = load_data(config.data, device)
        refuse_other_data(store, [commit.record.epoch for commit in commits], data.digest)
        measuring = Measurement(measurement, config.seed, *data.measurement_subset(measurement.fraction))
        for commit in commits:
            if stop_requested():
                break
            try:
                checkpoint = store.read_checkpoint(commit)
            except StorageError as error:
                damaged.append(str(error))
                continue
            if checkpoint is None:  # forgotten since: the trial has gone on
                continue
            record = _measure(config, measuring, data, device, commit.record, checkpoint)
            environment = asdict(describe(device, resources.cpu))
            store.remeasurements.add(
                label,
                Remeasurement(
                    record,
                    measurement,
                    commit.checkpoint_digest,
                    commit.data_digest,
                    capture(command=command),
                    environment,
                ),
            )
    if damaged:
        raise StorageError("; ".join(damaged))


def _measure(
    config: TrialConfig,
    measuring: Measurement,
    data: ResidentData,
    device: torch.device,
    trained: EpochRecord,
    checkpoint: bytes,
) -> EpochRecord:
    """A record of nothing but curvature."""
    model = load_model(config, data, device, checkpoint)
    record = measuring.complete(EpochRecord(trained.epoch, timestamp_ms=0, loss_train=trained.loss_train), model)
    return replace(record, loss_train=None, timestamp_ms=time.time_ns() // 1_000_000)

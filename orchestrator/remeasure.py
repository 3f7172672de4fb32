"""Measures curvature from the stored checkpoints of a trial, with the same or other settings."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from orchestrator.store.errors import StorageError
from orchestrator.store.files.remeasurements import Remeasurement
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.remeasurement_status import remeasurement_status
from orchestrator.store.trial import TrialStore
from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.record import Record
from orchestrator.study.sweep import Resources
from orchestrator.training.checkpoint import restore
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.datasets import load_data
from orchestrator.training.environment import describe, reproducible
from orchestrator.training.loss import build_loss
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.build import build_model
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.user_code.own_code import code_digests, own_code
from orchestrator.trial import accepted_code, device_of, refuse_other_data


@dataclass(frozen=True)
class RemeasureOptions:
    """Options of a remeasurement."""

    measurement: MeasurementConfig
    label: str
    """The name under which the results are stored."""
    resources: Resources
    every: int = 1
    """Only records whose numbers are multiples of this one are measured."""
    stop_requested: Callable[[], bool] = lambda: False
    """Called before every checkpoint; True ends the remeasurement."""
    command: str | None = None
    """The command line stored as provenance; None: that of this process."""
    accept_changed_code: bool = False
    """Whether to measure the trial even if the user's own code changed since its training."""


def remeasure(config: TrialConfig, store: TrialStore, options: RemeasureOptions) -> None:
    """Measures the records of a trial that have a checkpoint and no result under the label yet.

    An estimator with unchanged settings returns the same bits as in training if the number of threads is the same,
    because its random numbers are seeded by (seed, purpose, epoch).

    Raises:
        ChangedCodeError: if the user's own code changed since the trial was trained and this is not accepted.
        DataError: if the data differs from the data on which the trial was trained.
        StorageError: if a checkpoint is damaged. It is raised after all others have been measured.
    """
    commits = remeasurement_status(store, config, options.label, options.every).due
    if not commits:
        return
    code = own_code(config)
    accepted = accepted_code(store, code_digests(code), options.accept_changed_code)
    device = device_of(options.resources)
    damaged: list[str] = []
    with reproducible(options.resources.cpu):
        data = load_data(config.data, device)
        refuse_other_data(store, [commit.record.number for commit in commits], data.digest)
        subset = data.measurement_subset(options.measurement.fraction)
        measurement = Measurement(options.measurement, config.seed, *subset, build_loss(config.loss, data))
        for commit in commits:
            if options.stop_requested():
                break
            try:
                checkpoint = store.read_checkpoint(commit)
            except StorageError as error:
                damaged.append(str(error))
                continue
            if checkpoint is None:  # deleted since, because the trial was trained further
                continue
            record = _measure(config, measurement, data, device, commit.record, checkpoint)
            result = Remeasurement(
                record,
                options.measurement,
                commit.checkpoint_digest,
                commit.data_digest,
                capture(code, options.command, accepted),
                asdict(describe(device, options.resources.cpu)),
            )
            store.remeasurements.add(options.label, result)
    if damaged:
        raise StorageError("; ".join(damaged))


def _measure(
    config: TrialConfig,
    measurement: Measurement,
    data: DataSplits,
    device: torch.device,
    trained: Record,
    checkpoint: bytes,
) -> Record:
    """Returns a record with curvature only."""
    model = build_model(config.model, data.signature, config.seed).to(device)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    restore(checkpoint, model, optimizer)
    blank = Record(
        trained.number, timestamp_ms=0, epoch=trained.epoch, step=trained.step, loss_train=trained.loss_train
    )
    record = measurement.complete(blank, model, Training(config, optimizer, data))
    return replace(record, loss_train=None, timestamp_ms=time.time_ns() // 1_000_000)

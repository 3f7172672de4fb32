"""The training loop: trains one model and yields its records, each with a checkpoint. It writes nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record
from orchestrator.training.checkpoint import Moment, restore, snapshot
from orchestrator.training.cuda.captured_step import training_step
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.augmentation import check_augmentation
from orchestrator.training.evaluation import check_stop, evaluate
from orchestrator.training.loss import build_loss
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.build import build_model
from orchestrator.training.models.checks import check_batches
from orchestrator.training.models.user_code import NETWORK
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.optimizers.schedules import check_schedule
from orchestrator.training.process_usage import ProcessUsage
from orchestrator.training.trainer import Trainer


@dataclass(frozen=True)
class TrainedRecord:
    """A record, and the state from which the next one can be computed."""

    record: Record
    checkpoint: bytes


def train(
    config: TrialConfig, data: DataSplits, device: torch.device, checkpoint: bytes | None = None
) -> Iterator[TrainedRecord]:
    """Trains a model, evaluates and measures it at every record, and yields each record.

    Starts with the record after the checkpoint. Without a checkpoint it starts with record 0, the untrained model. Ends
    at the last record, or earlier if the training loss becomes infinite or NaN or a record reaches `config.stop`. Every
    random draw is seeded by (seed, purpose, epoch), so a resumed trial is bit-identical to an uninterrupted one.

    Raises:
        ValueError: as `fitting_model`, or if the optimizer does not fit the model.
        UserCodeError: if the user's own network or optimizer raises.
    """
    model = fitting_model(config, data).to(device)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    subset = data.measurement_subset(config.measurement.fraction)
    loss = build_loss(config.loss, data)
    measurement = Measurement(config.measurement, config.seed, *subset, loss)
    training = Training(config, optimizer, data)
    # The step chooses its memory format by the untrained weights, so a resumed trial chooses the same.
    trainer = Trainer(model, optimizer, data, config, training_step(model, optimizer, data, config))
    start = None if checkpoint is None else restore(checkpoint, model, optimizer)
    if start is not None:
        trainer.done, trainer.noise = _steps_done(start, config, trainer.steps_per_epoch), start.noise
    usage = ProcessUsage(device)
    for number in range(start.number + 1 if start else 0, config.records + 1):
        epoch = config.cadence.epoch(number, trainer.steps_per_epoch)
        last = config.cadence.step(number, trainer.steps_per_epoch)
        with NETWORK.errors(config.model.name, f"trained and evaluated in epoch {epoch:g}"):
            started = time.perf_counter()
            trainer.train_until(last)
            _synchronize(device)
            seconds = time.perf_counter() - started if number > 0 else 0.0
            record = evaluate(model, data, subset, number, loss, held_out=number % config.evaluate_every == 0)
        record = replace(record, epoch=epoch, step=last, time_train_seconds=seconds)
        record = measurement.complete(record, model, training)
        record = replace(record, timestamp_ms=time.time_ns() // 1_000_000, **usage.take())
        yield TrainedRecord(record, snapshot(Moment(number, last, trainer.noise, epoch), model, optimizer))
        if record.diverged or config.ends_at(record):
            return


def _steps_done(start: Moment, config: TrialConfig, steps_per_epoch: int) -> int:
    return config.cadence.step(start.number, steps_per_epoch) if start.step is None else start.step


def fitting_model(config: TrialConfig, data: DataSplits) -> nn.Module:
    """Returns the untrained model of a trial, on the CPU, after checking that config and data fit.

    Raises:
        ValueError: if loss, model, batch size, augmentation, schedule or stop do not fit the data.
        UserCodeError: if the user's own network raises.
    """
    build_loss(config.loss, data)
    check_augmentation(config.augmentation, data.shape)
    check_schedule(config, config.steps_per_epoch(len(data.train)))
    check_stop(config, data)
    model = build_model(config.model, data.signature, config.seed)
    check_batches(model, config.model.name, len(data.train), config.images_per_batch(len(data.train)))
    return model


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

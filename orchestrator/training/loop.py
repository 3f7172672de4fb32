"""The epoch loop: trains one model and yields a record and a checkpoint after every epoch. It writes nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn, optim

from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.training.checkpoint import restore, snapshot
from orchestrator.training.cuda.captured_step import training_step
from orchestrator.training.data.augmentation import check_augmentation, draw_augmentation
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.devices import to_device
from orchestrator.training.evaluation import evaluate
from orchestrator.training.loss import build_loss
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.build import build_model
from orchestrator.training.models.checks import check_batches
from orchestrator.training.models.user_code import NETWORK
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.optimizers.schedules import set_learning_rate
from orchestrator.training.step import EagerStep, Step
from orchestrator.training.streams import derived_seed, stream


@dataclass(frozen=True)
class TrainedEpoch:
    """The record of an epoch, and the state from which the next epoch can be computed."""

    record: EpochRecord
    checkpoint: bytes


def train(
    config: TrialConfig, data: DataSplits, device: torch.device, checkpoint: bytes | None = None
) -> Iterator[TrainedEpoch]:
    """Trains a model, evaluates and measures it after every epoch, and yields each epoch.

    Starts with the epoch after the checkpoint. Without a checkpoint it starts with epoch 0, the untrained model. Ends
    after `config.epochs` epochs, or earlier if the training loss becomes infinite or NaN. Every random draw is seeded
    by (seed, purpose, epoch), so a resumed trial is bit-identical to an uninterrupted one.

    Raises:
        ValueError: if model, batch size or augmentation do not fit the data, or the optimizer does not fit the model.
        UserCodeError: if the user's own network or optimizer raises.
    """
    model = fitting_model(config, data).to(device)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    subset = data.measurement_subset(config.measurement.fraction)
    loss = build_loss(config.loss, data)
    measurement = Measurement(config.measurement, config.seed, *subset, loss)
    first = 0 if checkpoint is None else restore(checkpoint, model, optimizer) + 1
    step = training_step(model, optimizer, data, config)
    for epoch in range(first, config.epochs + 1):
        seconds = 0.0
        with NETWORK.errors(config.model.name, f"trained and evaluated in epoch {epoch}"):
            if epoch > 0:
                started = time.perf_counter()
                train_epoch(model, optimizer, data, config, epoch, step)
                _synchronize(device)
                seconds = time.perf_counter() - started
            record = evaluate(model, data, subset, epoch, loss)
        record = measurement.complete(replace(record, time_train_seconds=seconds), model)
        record = replace(record, timestamp_ms=time.time_ns() // 1_000_000)
        yield TrainedEpoch(record, snapshot(epoch, model, optimizer))
        if record.diverged:
            return


def fitting_model(config: TrialConfig, data: DataSplits) -> nn.Module:
    """Returns the untrained model of a trial, on the CPU, after checking that it and the loss fit the data.

    Raises:
        ValueError: if loss, model, batch size or augmentation do not fit the data.
        UserCodeError: if the user's own network raises.
    """
    build_loss(config.loss, data)
    check_augmentation(config.augmentation, data.shape)
    model = build_model(config.model, data.signature, config.seed)
    check_batches(model, config.model.name, len(data.train), config.images_per_batch(len(data.train)))
    return model


def train_epoch(
    model: nn.Module,
    optimizer: optim.Optimizer,
    data: DataSplits,
    config: TrialConfig,
    epoch: int,
    step: Step | None = None,
) -> None:
    """Trains on all training images once, in a random order seeded by the epoch, or in one full batch.

    On CUDA there is no synchronization within an epoch, except in the epoch that captures the graph.

    Args:
        model: on the device of the data.
        optimizer: optimizer of the model's parameters.
        data: the data set.
        config: config of the trial.
        epoch: counted from 1; seeds the order, the augmentation and dropout.
        step: a training step of this model, optimizer and data. The eager step by default.
    """
    model.train()
    torch.manual_seed(derived_seed(config.seed, "layer noise", epoch))  # dropout layers use the global generator
    train, device = data.train, data.train.targets.device
    step = step or EagerStep(model, optimizer, data, config.optimizer, build_loss(config.loss, data))
    step.begin_epoch(draw_augmentation(config.augmentation, len(train), config.seed, epoch, device))
    batches = to_device(_order(config, len(train), epoch), device).split(config.images_per_batch(len(train)))
    for number, index in enumerate(batches):
        set_learning_rate(optimizer, config, len(batches), (epoch - 1) * len(batches) + number)
        step(index)


def _order(config: TrialConfig, images: int, epoch: int) -> Tensor:
    """Returns the positions of an epoch's training images: random, or those of the data for full batches."""
    if config.batch_size == "full":
        return torch.arange(images)
    return torch.randperm(images, generator=stream(config.seed, "order of images", epoch))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

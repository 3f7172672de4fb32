"""The epoch loop: yields what it knows after every epoch, and touches nothing else."""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.training.datasets import ResidentData
from orchestrator.training.images import Images
from orchestrator.training.measurement import Measurement
from orchestrator.training.models import build_model
from orchestrator.training.optimizers import build_optimizer
from orchestrator.training.streams import derived_seed, stream

EVALUATION_BATCH = 100
"""Images a forward pass of an evaluation: small enough for a processor's cache."""
_EVALUATION_FORMAT = torch.channels_last
"""On a CPU three times as fast as the usual layout in a forward pass; not used in training, where batches of 256 would
take twice as long."""


@dataclass(frozen=True)
class TrainedEpoch:
    """A record, and the state from which the next epoch can be computed."""

    record: EpochRecord
    checkpoint: bytes


def train(
    config: TrialConfig, data: ResidentData, device: torch.device, checkpoint: bytes | None = None
) -> Iterator[TrainedEpoch]:
    """Trains from where a checkpoint stands, or from the untrained model, which is measured as epoch 0.

    Ends after `config.epochs` epochs, or with the record of the epoch in which the training loss stopped being finite.
    Every random draw comes from (seed, purpose, epoch), so the epochs after a checkpoint are bit for bit those of a
    trial that was never interrupted.
    """
    model = build_model(config.model, data.shape, len(data.classes), config.seed).to(device)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    subset = data.measurement_subset(config.measurement.fraction)
    measurement = Measurement(config.measurement, config.seed, *subset)
    first = 0 if checkpoint is None else _restore(checkpoint, model, optimizer, device) + 1
    for epoch in range(first, config.epochs + 1):
        seconds = 0.0
        if epoch > 0:
            started = time.perf_counter()
            train_epoch(model, optimizer, data, config.batch_size, config.seed, epoch)
            _wait_for(device)
            seconds = time.perf_counter() - started
        record = evaluate(model, data, subset, epoch)
        record = measurement.complete(replace(record, time_train_seconds=seconds), model)
        record = replace(record, timestamp_ms=time.time_ns() // 1_000_000)
        yield TrainedEpoch(record, _snapshot(epoch, model, optimizer))
        if record.diverged:
            return


def train_epoch(
    model: nn.Module, optimizer: optim.Optimizer, data: ResidentData, batch_size: int, seed: int, epoch: int
) -> None:
    """One pass over the training images in the epoch's own order."""
    model.train()
    torch.manual_seed(derived_seed(seed, "layer noise", epoch))  # what dropout layers draw from
    order = torch.randperm(len(data.train), generator=stream(seed, "order of images", epoch))
    for index in order.to(data.train.labels.device).split(batch_size):
        inputs, labels = data.normalise(data.train.pixels[index]), data.train.labels[index]
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()


@torch.inference_mode()
def evaluate(model: nn.Module, data: ResidentData, subset: tuple[Tensor, Tensor], epoch: int) -> EpochRecord:
    """Losses and accuracies of the model in eval mode."""
    started = time.perf_counter()
    model.eval()
    train_loss, train_accuracy = _loss_and_accuracy(model, _parts(subset))
    validation_loss, validation_accuracy = _loss_and_accuracy(model, _batches(data, data.validation))
    _, test_accuracy = _loss_and_accuracy(model, _batches(data, data.test))
    _, ood_accuracy = _loss_and_accuracy(model, _batches(data, data.test, data.ood_noise))
    return EpochRecord(
        epoch=epoch,
        timestamp_ms=0,
        loss_train=train_loss,
        loss_validation=validation_loss,
        accuracy_train=train_accuracy,
        accuracy_validation=validation_accuracy,
        accuracy_test=test_accuracy,
        accuracy_ood=ood_accuracy,
        time_evaluate_seconds=time.perf_counter() - started,
    )


def _parts(subset: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(*(part.split(EVALUATION_BATCH) for part in subset), strict=True)


def _batches(data: ResidentData, images: Images, noise: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        inputs = data.normalise(images.pixels[part])
        yield inputs if noise is None else inputs.add_(noise[part]), images.labels[part]


def _loss_and_accuracy(model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    # Sums stay on the device: one wait an evaluation, not one a batch.
    losses, right, count = [], [], 0
    for inputs, labels in batches:
        outputs = model(inputs.contiguous(memory_format=_EVALUATION_FORMAT))
        losses.append(cross_entropy(outputs, labels, reduction="sum").double())
        right.append((outputs.argmax(1) == labels).sum())
        count += len(labels)
    return torch.stack(losses).sum().item() / count, torch.stack(right).sum().item() / count


def _snapshot(epoch: int, model: nn.Module, optimizer: optim.Optimizer) -> bytes:
    buffer = io.BytesIO()
    torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    return buffer.getvalue()


def _restore(checkpoint: bytes, model: nn.Module, optimizer: optim.Optimizer, device: torch.device) -> int:
    state = torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    epoch: int = state["epoch"]
    return epoch


def load_model(config: TrialConfig, data: ResidentData, device: torch.device, checkpoint: bytes) -> nn.Module:
    """The model as a checkpoint holds it, on a device."""
    model = build_model(config.model, data.shape, len(data.classes), config.seed).to(device)
    model.load_state_dict(torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)["model"])
    return model


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

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
from orchestrator.training.checkpoint import restore, snapshot
from orchestrator.training.cuda.captured_step import training_step
from orchestrator.training.data.augmentation import check_augmentation, draw_changes
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.data.images import Images
from orchestrator.training.devices import to_device
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.networks import build_model, check_batches, evaluation_layout
from orchestrator.training.models.user_code import users_code
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.optimizers.schedules import set_learning_rate
from orchestrator.training.step import PlainStep, Step
from orchestrator.training.streams import derived_seed, stream


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

    Raises:
        ValueError: where model, batches or augmentation do not fit the data.
        ModelCodeError: where a network of the user's own raises.
    """
    model = fitting_model(config, data).to(device)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    subset = data.measurement_subset(config.measurement.fraction)
    measurement = Measurement(config.measurement, config.seed, *subset)
    first = 0 if checkpoint is None else restore(checkpoint, model, optimizer) + 1
    step = training_step(model, optimizer, data, config)
    for epoch in range(first, config.epochs + 1):
        seconds = 0.0
        with users_code(config.model.name, f"trained and evaluated in epoch {epoch}"):
            if epoch > 0:
                started = time.perf_counter()
                train_epoch(model, optimizer, data, config, epoch, step)
                _wait_for(device)
                seconds = time.perf_counter() - started
            record = evaluate(model, data, subset, epoch)
        record = measurement.complete(replace(record, time_train_seconds=seconds), model)
        record = replace(record, timestamp_ms=time.time_ns() // 1_000_000)
        yield TrainedEpoch(record, snapshot(epoch, model, optimizer))
        if record.diverged:
            return


def fitting_model(config: TrialConfig, data: ResidentData) -> nn.Module:
    """The untrained model of a trial, on the CPU.

    Raises:
        ValueError: where model, batches or augmentation do not fit the data.
        ModelCodeError: where a network of the user's own raises.
    """
    check_augmentation(config.augmentation, data.shape)
    model = build_model(config.model, data.shape, len(data.classes), config.seed)
    check_batches(model, config.model.name, len(data.train), config.batch_size)
    return model


def train_epoch(
    model: nn.Module,
    optimizer: optim.Optimizer,
    data: ResidentData,
    config: TrialConfig,
    epoch: int,
    step: Step | None = None,
) -> None:
    """One pass over the training images in the epoch's own order; the first is epoch 1.

    On CUDA all of it is launched without waiting for the device, but in the epoch in which `step` becomes a graph.

    Args:
        model: on the data's device.
        optimizer: of its parameters.
        data: what is passed over.
        config: the trial's.
        epoch: decides on the order and all that is random.
        step: of this model, optimizer and data, by default the plain one.
    """
    model.train()
    torch.manual_seed(derived_seed(config.seed, "layer noise", epoch))  # what dropout layers draw from
    train, device = data.train, data.train.labels.device
    step = step or PlainStep(model, optimizer, data)
    step.begin_epoch(draw_changes(config.augmentation, len(train), config.seed, epoch, device))
    order = torch.randperm(len(train), generator=stream(config.seed, "order of images", epoch))
    batches = to_device(order, device).split(config.batch_size)
    for number, index in enumerate(batches):
        set_learning_rate(optimizer, config, len(batches), (epoch - 1) * len(batches) + number)
        step(index)


@torch.inference_mode()
def evaluate(model: nn.Module, data: ResidentData, subset: tuple[Tensor, Tensor], epoch: int) -> EpochRecord:
    """Losses and accuracies of the model in eval mode."""
    started = time.perf_counter()
    model.eval()
    size = evaluation_batch(subset[0].device, data.shape)
    train_loss, train_accuracy = _loss_and_accuracy(model, _parts(subset, size))
    validation_loss, validation_accuracy = _loss_and_accuracy(model, _batches(data, data.validation, size))
    _, test_accuracy = _loss_and_accuracy(model, _batches(data, data.test, size))
    _, ood_accuracy = _loss_and_accuracy(model, _batches(data, data.test, size, data.ood_noise))
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


def evaluation_batch(device: torch.device, shape: tuple[int, int, int]) -> int:
    """Images a forward pass of an evaluation: a fixed number, since the order of sums decides the bits.

    On a CPU few enough for its cache. A GPU wants many: 2500 of 32x32, and of larger images as many pixels, which
    take the cnn 330 MB a layer.
    """
    if device.type == "cpu":
        return 100
    _, height, width = shape
    return min(2500, max(1, 2500 * 32 * 32 // (height * width)))


def _parts(subset: tuple[Tensor, Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(*(part.split(size) for part in subset), strict=True)


def _batches(
    data: ResidentData, images: Images, size: int, noise: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        inputs = data.normalise(images.pixels[part])
        yield inputs if noise is None else inputs.add_(noise[part]), images.labels[part]


def _loss_and_accuracy(model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    # Sums stay on the device: one wait an evaluation, not one a batch.
    losses, right, count = [], [], 0
    layout = evaluation_layout(model)
    for inputs, labels in batches:
        outputs = model(inputs.contiguous(memory_format=layout))
        losses.append(cross_entropy(outputs, labels, reduction="sum").double())
        right.append((outputs.argmax(1) == labels).sum())
        count += len(labels)
    return torch.stack(losses).sum().item() / count, torch.stack(right).sum().item() / count


def load_model(config: TrialConfig, data: ResidentData, device: torch.device, checkpoint: bytes) -> nn.Module:
    """The model as a checkpoint holds it, on a device."""
    model = build_model(config.model, data.shape, len(data.classes), config.seed).to(device)
    model.load_state_dict(torch.load(io.BytesIO(checkpoint), map_location=device, weights_only=True)["model"])
    return model


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

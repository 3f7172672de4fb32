"""Losses and accuracies of a model after an epoch."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.study.record import EpochRecord
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.samples import Samples
from orchestrator.training.models.memory_format import evaluation_memory_format


@torch.inference_mode()
def evaluate(model: nn.Module, data: DataSplits, subset: tuple[Tensor, Tensor], epoch: int) -> EpochRecord:
    """Returns a record with the losses and accuracies of the model in eval mode.

    Args:
        model: on the device of the data. It stays in eval mode.
        data: contains the validation and test images.
        subset: inputs and labels of the measurement subset, used for the training loss and accuracy.
        epoch: epoch number of the record.
    """
    started = time.perf_counter()
    model.eval()
    size = evaluation_batch(subset[0].device, data.shape)
    train_loss, train_accuracy = _loss_and_accuracy(model, zip(*(part.split(size) for part in subset), strict=True))
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
    """Returns the number of images per forward pass.

    It depends only on device type and image shape, since a different batch size changes the rounding. A CPU evaluates
    few images at a time, which fit into its cache. A GPU evaluates 2,500 images of 32x32 at a time, or the same number
    of pixels for larger images. The output of the cnn's first layer then takes 330 MB.
    """
    if device.type == "cpu":
        return 100
    _, height, width = shape
    return min(2500, max(1, 2500 * 32 * 32 // (height * width)))


def _batches(
    data: DataSplits, images: Samples, size: int, noise: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        inputs = data.normalise(images.inputs[part])
        yield inputs if noise is None else inputs.add_(noise[part]), images.targets[part]


def _loss_and_accuracy(model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    # Sums stay on the device, which is synchronized once per evaluation instead of once per batch.
    losses, correct, count = [], [], 0
    memory_format = evaluation_memory_format(model)
    for inputs, labels in batches:
        outputs = model(inputs.contiguous(memory_format=memory_format))
        losses.append(cross_entropy(outputs, labels, reduction="sum").double())
        correct.append((outputs.argmax(1) == labels).sum())
        count += len(labels)
    return torch.stack(losses).sum().item() / count, torch.stack(correct).sum().item() / count

"""Losses and scores of a model at a record."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.samples import Samples
from orchestrator.training.data.task import Task
from orchestrator.training.loss import CROSS_ENTROPY, Loss
from orchestrator.training.models.memory_format import evaluation_memory_format
from orchestrator.training.scores import SCORES, Score


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    data: DataSplits,
    subset: tuple[Tensor, Tensor],
    number: int,
    loss: Loss = CROSS_ENTROPY,
    held_out: bool = True,
) -> Record:
    """Returns a record with the losses and scores of the model in eval mode. Scores are accuracies, or R2 for values.

    Args:
        model: on the device of the data. It stays in eval mode.
        data: contains the validation and test samples. Without validation samples their quantities are omitted.
        subset: inputs and targets of the measurement subset, used for the training loss and score.
        number: number of the record.
        loss: the loss of the trial.
        held_out: whether to evaluate validation, test and shifted samples too.
    """
    started = time.perf_counter()
    model.eval()
    size = evaluation_batch(subset[0].device, data.shape)
    evaluation = _Evaluation(model, loss, data.task)
    fields = evaluation.fields("train", zip(*(part.split(size) for part in subset), strict=True))
    if held_out:
        fields |= evaluation.fields("validation", _batches(data, data.validation, size))
        fields |= evaluation.fields("test", _batches(data, data.test, size))
        fields |= evaluation.fields("ood", _batches(data, data.test, size, shifted=True))
    seconds = time.perf_counter() - started
    return replace(Record(number, timestamp_ms=0, time_evaluate_seconds=seconds), **fields)


def check_stop(config: TrialConfig, data: DataSplits) -> None:
    """Raises ValueError if `stop` names a quantity that the records of this data do not have."""
    parts = ["train", "validation", "test", "ood"] if len(data.validation) else ["train", "test", "ood"]
    recorded = [f"{name}/{part}" for name in ("loss", SCORES[data.task](0.0).name) for part in parts]
    if config.stop and config.stop.key not in recorded:
        raise ValueError(
            f"stop names {config.stop.key}, which is not recorded for this data; use one of: {', '.join(recorded)}"
        )


def evaluation_batch(device: torch.device, shape: tuple[int, ...]) -> int:
    """Returns the number of samples per forward pass.

    It depends only on device type and input shape, since a different batch size changes the rounding. A CPU evaluates
    few samples at a time, which fit into its cache. A GPU evaluates 2,500 images of 32x32 at a time, or the same number
    of pixels for larger images. The output of the cnn's first layer then takes 330 MB.
    """
    if device.type == "cpu":
        return 100
    return min(2500, max(1, 2500 * 32 * 32 // prod(shape[-2:])))


def _batches(data: DataSplits, samples: Samples, size: int, shifted: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(samples), size):
        part = slice(start, start + size)
        yield data.shifted_test(part) if shifted else (data.normalise(samples.inputs[part]), samples.targets[part])


@dataclass(frozen=True)
class _Evaluation:
    model: nn.Module
    loss: Loss
    task: Task

    def fields(self, part: str, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        """Maps fields of the record to the mean loss and the score of a part of the data. Empty without samples."""
        # Sums stay on the device, which is synchronized once per evaluation instead of once per batch.
        losses: list[Tensor] = []
        score: Score = SCORES[self.task](self.loss.label_threshold)
        count = 0
        memory_format = evaluation_memory_format(self.model)
        for inputs, targets in batches:
            outputs = self.model(inputs.contiguous(memory_format=memory_format))
            losses.append(self.loss.sum(outputs, targets).double())
            score.add(outputs, targets)
            count += len(targets)
        if not count:
            return {}
        return {f"loss_{part}": torch.stack(losses).sum().item() / count, f"{score.name}_{part}": score.value()}

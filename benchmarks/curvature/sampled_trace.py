"""Error of the sampled trace during training, compared with its reported standard error."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn, optim
from torch.nn.functional import cross_entropy

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from benchmarks.harness.trials import paper_cnn
from estimators import exact_trace, sampled_trace
from orchestrator.training.data.data_splits import DataSplits

LEARNING_RATE, BATCH = 0.05, 32


@dataclass(frozen=True)
class SampledTraceSizes:
    training_images: int
    images: int
    epochs: int
    draws: int


SIZES: dict[Scale, SampledTraceSizes] = {
    "full": SampledTraceSizes(10_000, 5000, epochs=8, draws=8),
    "quick": SampledTraceSizes(1000, 500, epochs=2, draws=3),
    "tiny": SampledTraceSizes(32, 16, epochs=1, draws=2),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains a network. Before training and after every epoch, compares sampled traces with the exact trace."""
    sizes = SIZES[settings.scale]
    data = resident_data(settings, max(sizes.training_images, sizes.images))
    model = paper_cnn(data)
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
    measured_on = batch(data, sizes.images)
    epochs = []
    for epoch in range(sizes.epochs + 1):
        if epoch:
            _train_epoch(model, optimizer, data, sizes.training_images, epoch)
        exact = exact_trace(model.eval(), cross_entropy, measured_on).value
        draws = [
            sampled_trace(model, cross_entropy, measured_on, generator=torch.Generator().manual_seed(1000 * epoch + i))
            for i in range(sizes.draws)
        ]
        epochs.append(
            {
                "exact": exact,
                "sampled": [draw.value for draw in draws],
                "standard_errors": [draw.standard_error for draw in draws],
            }
        )
        say(f"  epoch {epoch}: exact {exact:.4g}, error {percent(_error(epochs[-1]))}")
    yield {"images": sizes.images, "training_images": sizes.training_images, "epochs": epochs}


def table(result: Result) -> str:
    """Root mean square error of the sampled traces and their reported standard error, by epoch."""
    rows = []
    for epoch, found in enumerate(result.measured["epochs"]):
        reported = math.sqrt(sum(e**2 for e in found["standard_errors"]) / len(found["standard_errors"]))
        reported /= found["exact"]
        actual = _error(found)
        rows.append([str(epoch), number(found["exact"]), percent(actual), percent(reported), number(actual / reported)])
    header = ["epoch", "exact trace", "error of a draw", "reported error", "error / reported"]
    epochs = result.measured["epochs"]
    scores = [
        (value - found["exact"]) / error
        for found in epochs
        for value, error in zip(found["sampled"], found["standard_errors"], strict=True)
    ]
    calibration = math.sqrt(sum(score**2 for score in scores) / len(scores))
    typical = math.sqrt(sum(_error(found) ** 2 for found in epochs) / len(epochs))
    return (
        f"{markdown(header, rows, text=0)}\n\n{len(epochs[0]['sampled'])} sampled traces per epoch, each over "
        f"{result.measured['images']:,} images, of a network trained on {result.measured['training_images']:,} images. "
        f"Relative error: {percent(typical)} over all epochs, {percent(median(map(_error, epochs)))} in the median "
        f"epoch. Root mean square of error / reported error: {number(calibration)} (1 if reported errors are correct)."
    )


def _error(found: Mapping[str, Any]) -> float:
    """Root mean square of the relative errors of an epoch's draws."""
    sampled = found["sampled"]
    return math.sqrt(sum((value / found["exact"] - 1.0) ** 2 for value in sampled) / len(sampled))


def _train_epoch(model: nn.Module, optimizer: optim.Optimizer, data: DataSplits, images: int, epoch: int) -> None:
    model.train()
    order = torch.randperm(images, generator=torch.Generator().manual_seed(epoch))
    for chosen in order.split(BATCH):
        optimizer.zero_grad()
        cross_entropy(model(data.normalise(data.train.inputs[chosen])), data.train.targets[chosen]).backward()
        optimizer.step()


BENCHMARK = Benchmark("sampled_trace", measure, table)

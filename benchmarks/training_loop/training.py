"""Time of an epoch of training with our loop, a minimal loop over the same tensors, and a typical DataLoader loop."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.flops import network_flops
from benchmarks.harness.images import resident_data
from benchmarks.harness.processes import in_process
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import interleaved, ratio, seconds
from benchmarks.harness.trials import paper_cnn, trial_config
from orchestrator.study.parts.optimizer_config import SgdConfig
from orchestrator.training.allocator import WORKER_ENVIRONMENT
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.environment import reproducible
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.step import EagerStep
from orchestrator.training.trainer import train_epoch

LEARNING_RATE = 0.05
WORKERS = 2
EPOCH = 45_000
"""Number of images per epoch: CIFAR-10's training images without the validation split."""
_REST = 0.3
"""Seconds in which the DataLoader's workers fill their queue, so that they do not disturb the next loop."""


@dataclass(frozen=True)
class TrainingSizes:
    portion: int
    """Number of images per sample, less than an epoch so that the loops alternate every second or two."""
    rounds: int
    batch_sizes: tuple[int, ...] = (32, 64, 128, 256)


SIZES: dict[Scale, TrainingSizes] = {
    "full": TrainingSizes(3200, 14),
    "quick": TrainingSizes(640, 4),
    "tiny": TrainingSizes(64, 2, (32,)),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Times part of an epoch with each of the three loops, interleaved."""
    sizes = SIZES[settings.scale]
    data = resident_data(settings, sizes.portion)
    model = paper_cnn(data)
    flops = network_flops(model, data.shape)
    batch_sizes = {str(size): _compare(model, data, size, sizes, settings) for size in sizes.batch_sizes}
    yield {
        "portion": sizes.portion,
        "forward_flops_per_image": flops.forward,
        "training_flops_per_image": flops.training,
        "batch_sizes": batch_sizes,
    }


def table(result: Result) -> str:
    """Seconds per epoch of every loop, also relative to ours and to the arithmetic limit."""
    measured = result.measured
    scale = EPOCH / measured["portion"]
    flops = measured["training_flops_per_image"]
    limit = EPOCH * flops / result.machine.best_gflops / 1e9
    rows = []
    for batch_size, found in measured["batch_sizes"].items():
        ours = found["samples"]["ours"]
        for name, label in LOOPS.items():
            samples = [sample + found["start"][name] / scale for sample in found["samples"][name]]
            relative = "" if name == "ours" else str(ratio(ours, samples))
            to_limit = number(scale * median(samples) / limit)
            rows.append([batch_size, label, spread(samples, scale), relative, to_limit])
    header = ["batch", "loop", "s per epoch (range)", "ours / this (95%)", "this / limit"]
    return (
        f"{markdown(header, rows, text=2)}\n\n"
        f"Arithmetic limit: {flops / 1e6:.1f} MFLOP per image, forward and backward, "
        f"{EPOCH:,} images, {result.machine.best_gflops:.0f} GFLOP/s: {number(limit)} s per epoch."
    )


LOOPS = {"ours": "`train_epoch`", "bare": "bare loop", "dataloader": f"DataLoader, {WORKERS} workers"}


def _compare(
    model: nn.Module, data: DataSplits, batch_size: int, sizes: TrainingSizes, settings: Settings
) -> dict[str, Any]:
    dataloader = DataLoaderLoop(copy.deepcopy(model), data, batch_size)
    ours = partial(_loop_of_a_trial, settings, batch_size, sizes.portion)
    with in_process(ours, WORKER_ENVIRONMENT) as trial:
        tasks: dict[str, Callable[[int], object]] = {
            "ours": trial,
            "bare": bare_loop(copy.deepcopy(model), data, batch_size, sizes.portion),
            "dataloader": lambda number: dataloader.train(sizes.portion // batch_size),
        }
        start = seconds(dataloader.start)
        for name in ("ours", "bare"):
            tasks[name](0)
        samples = interleaved(tasks, sizes.rounds, _REST)
        dataloader.stop()
    for name, found in samples.items():
        say(f"  batch {batch_size}: {name} {number(EPOCH / sizes.portion * median(found))} s per epoch")
    return {"samples": samples, "start": {"ours": 0.0, "bare": 0.0, "dataloader": start}}


def _loop_of_a_trial(settings: Settings, batch_size: int, portion: int) -> Callable[[int], None]:
    """Our loop, for a process with the environment of a trial."""
    data = resident_data(settings, portion)
    return our_loop(paper_cnn(data), data, batch_size, portion, settings.threads)


def _part(data: DataSplits, number: int, portion: int) -> DataSplits:
    """The data set with only the training images of one round, without copying them."""
    first = number * portion % (len(data.train) - portion + 1)
    return replace(data, train=data.train[first : first + portion])


def our_loop(model: nn.Module, data: DataSplits, batch_size: int, portion: int, threads: int) -> Callable[[int], None]:
    """The training loop of a trial."""
    config = trial_config(SgdConfig(name="sgd", lr=LEARNING_RATE), batch_size, epochs=1)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    step = EagerStep(model, optimizer, data, config.optimizer)  # a trial creates it once

    def train(number: int) -> None:
        step.data = _part(data, number, portion)
        with reproducible(threads):
            train_epoch(model, optimizer, step.data, config, number + 1, step)

    return train


def bare_loop(model: nn.Module, data: DataSplits, batch_size: int, portion: int) -> Callable[[int], None]:
    """A minimal loop over the same tensors: gather, normalise, forward, backward and fused optimizer step."""
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, fused=True)
    mean, std = data.mean, data.std

    def train(number: int) -> None:
        part = _part(data, number, portion).train
        for index in torch.randperm(portion).split(batch_size):
            inputs = part.inputs[index].to(torch.float32).sub_(mean).div_(std)
            optimizer.zero_grad()
            cross_entropy(model(inputs), part.targets[index]).backward()
            optimizer.step()

    return train


class DataLoaderLoop:
    """The training loop of most tutorials: PIL images, transforms, a DataLoader with workers and a running loss."""

    def __init__(self, model: nn.Module, data: DataSplits, batch_size: int) -> None:
        self.model = model
        self.optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
        self.loss = nn.CrossEntropyLoss()
        pinned = torch.cuda.is_available()
        images = PilImages(data)
        self.loader = DataLoader(images, batch_size, shuffle=True, num_workers=WORKERS, pin_memory=pinned)
        self._batches: Iterator[Any] = iter(())
        self._running = 0.0

    def start(self) -> None:
        """Starts the workers and trains on one batch."""
        self._batches = chain.from_iterable(repeat(self.loader))
        self.train(1)

    def train(self, batches: int) -> None:
        """Trains on the next batches."""
        self.model.train()
        for inputs, labels in islice(self._batches, batches):
            self.optimizer.zero_grad()
            loss = self.loss(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            self._running += loss.item()

    def stop(self) -> None:
        self._batches = iter(())


class PilImages(Dataset[tuple[Tensor, int]]):
    """A data set like torchvision's CIFAR10: an array in memory, from which each access transforms a PIL image."""

    def __init__(self, data: DataSplits) -> None:
        self.pixels = data.train.inputs.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.train.targets.tolist()
        mean, std = (part.flatten().div(255).tolist() for part in (data.mean, data.std))
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


BENCHMARK = Benchmark("training", measure, table, threads=1)

"""A training epoch by our loop, beside a bare loop over the same tensors and a DataLoader loop as people write it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.harness.flops import counted, network_flops
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result, begin, finish
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import interleaved, ratio, seconds
from orchestrator.study.config import TrialConfig
from orchestrator.study.data_config import TorchvisionData
from orchestrator.study.model_config import CnnConfig
from orchestrator.study.optimizer_config import SgdConfig
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.data.images import Images
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train_epoch
from orchestrator.training.models.networks import build_model
from orchestrator.training.optimizers.build import build_optimizer

NAME = "training"
LEARNING_RATE = 0.05
WORKERS = 2
EPOCH = 45_000
"""Images of an epoch: CIFAR-10's training images without the validation split."""
_REST = 0.3  # seconds in which the DataLoader's workers fill their queue, so as not to disturb the next portion


@dataclass(frozen=True)
class Sizes:
    """How much is timed."""

    portion: int
    """Images a sample: an epoch is timed in portions, so that the loops take turns every second or two."""
    rounds: int
    batch_sizes: tuple[int, ...] = (32, 64)


SIZES: dict[Scale, Sizes] = {"full": Sizes(3200, 14), "quick": Sizes(640, 4), "tiny": Sizes(64, 2, (32,))}


def run(settings: Settings) -> Result:
    """Times portions of all three loops in turns."""
    machine, sizes = begin(NAME, settings), SIZES[settings.scale]
    data = resident_data(settings, sizes.portion)
    model = build_model(CnnConfig(name="cnn"), data.shape, len(data.classes), seed=0)
    flops = network_flops(model, data.shape)
    inputs, labels = batch(data, 8)
    measured: dict[str, Any] = {
        "portion": sizes.portion,
        "forward_flops_per_image": flops.forward,
        "training_flops_per_image": flops.training,
        "counted_training_flops_per_image": counted(lambda: cross_entropy(model(inputs), labels).backward()) / 8,
        "batch_sizes": {},
    }
    for batch_size in sizes.batch_sizes:
        measured["batch_sizes"][str(batch_size)] = _compare(model, data, batch_size, sizes, settings.threads)
    return finish(NAME, settings, machine, measured)


def table(result: Result) -> str:
    """An epoch's seconds by every loop, and each beside ours."""
    measured = result.measured
    scale = EPOCH / measured["portion"]
    limit = EPOCH * measured["training_flops_per_image"] / result.machine.best_gflops / 1e9
    rows = []
    for batch_size, found in measured["batch_sizes"].items():
        ours = found["samples"]["ours"]
        for name, label in LOOPS.items():
            samples = [sample + found["start"][name] / scale for sample in found["samples"][name]]
            beside = "" if name == "ours" else str(ratio(ours, samples))
            away = number(scale * median(samples) / limit)
            rows.append([batch_size, label, spread(samples, scale), beside, away])
    header = ["batch", "loop", "s an epoch (range)", "ours / this (95%)", "this / limit"]
    return f"{markdown(header, rows, text=2)}\n\n{_limit(result, limit)}"


def _limit(result: Result, limit: float) -> str:
    measured = result.measured
    checked = measured["counted_training_flops_per_image"] / measured["training_flops_per_image"]
    return (
        f"Arithmetic limit: {measured['training_flops_per_image'] / 1e6:.1f} MFLOP an image forward and backward "
        f"(torch counts {checked:.3f} times as many), {EPOCH:,} images, {result.machine.best_gflops:.0f} GFLOP/s: "
        f"{number(limit)} s an epoch."
    )


LOOPS = {"ours": "`train_epoch`", "bare": "bare loop", "dataloader": f"DataLoader, {WORKERS} workers"}


def _compare(model: nn.Module, data: ResidentData, batch_size: int, sizes: Sizes, threads: int) -> dict[str, Any]:
    dataloader = DataLoaderLoop(copy.deepcopy(model), data, batch_size)
    tasks: dict[str, Callable[[int], object]] = {
        "ours": our_loop(copy.deepcopy(model), data, batch_size, sizes.portion, threads),
        "bare": bare_loop(copy.deepcopy(model), data, batch_size, sizes.portion),
        "dataloader": lambda number: dataloader.train(sizes.portion // batch_size),
    }
    start = seconds(dataloader.start)
    for name in ("ours", "bare"):
        tasks[name](0)
    samples = interleaved(tasks, sizes.rounds, _REST)
    dataloader.stop()
    for name, found in samples.items():
        say(f"  batch {batch_size}: {name} {number(EPOCH / sizes.portion * median(found))} s an epoch")
    return {"samples": samples, "start": {"ours": 0.0, "bare": 0.0, "dataloader": start}}


def _part(data: ResidentData, number: int, portion: int) -> ResidentData:
    """The training images of one round: a view."""
    first = number * portion % (len(data.train) - portion + 1)
    images = Images(data.train.pixels[first : first + portion], data.train.labels[first : first + portion])
    return replace(data, train=images)


def our_loop(
    model: nn.Module, data: ResidentData, batch_size: int, portion: int, threads: int
) -> Callable[[int], None]:
    """The loop of a trial, with the settings of a trial."""
    config = TrialConfig(
        data=TorchvisionData(name="cifar10"),
        optimizer=SgdConfig(name="sgd", lr=LEARNING_RATE),
        batch_size=batch_size,
        epochs=1,
    )
    optimizer = build_optimizer(config.optimizer, model.parameters())

    def train(number: int) -> None:
        with reproducible(threads):
            train_epoch(model, optimizer, _part(data, number, portion), config, epoch=number + 1)

    return train


def bare_loop(model: nn.Module, data: ResidentData, batch_size: int, portion: int) -> Callable[[int], None]:
    """Gather, normalise, forward, backward, fused step over the same tensors; nothing else."""
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, fused=True)
    mean, std = data.mean, data.std

    def train(number: int) -> None:
        part = _part(data, number, portion).train
        for index in torch.randperm(portion).split(batch_size):
            inputs = part.pixels[index].to(torch.float32).sub_(mean).div_(std)
            optimizer.zero_grad()
            cross_entropy(model(inputs), part.labels[index]).backward()
            optimizer.step()

    return train


class DataLoaderLoop:
    """The loop of most tutorials: PIL images, transforms, a DataLoader with workers, a running loss."""

    def __init__(self, model: nn.Module, data: ResidentData, batch_size: int) -> None:
        self.model = model
        self.optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
        self.loss = nn.CrossEntropyLoss()
        pinned = torch.cuda.is_available()
        images = PilImages(data)
        self.loader = DataLoader(images, batch_size, shuffle=True, num_workers=WORKERS, pin_memory=pinned)
        self._batches: Iterator[Any] | None = None
        self._running = 0.0

    def start(self) -> None:
        """Starts the workers and takes a first batch, as an epoch does once; portions go on from there."""
        self._batches = iter(self.loader)
        self.train(1)

    def train(self, batches: int) -> None:
        """The next batches of the epoch; begins another where it ends, which none of the timed portions does."""
        self.model.train()
        for _ in range(batches):
            inputs, labels = self._next()
            self.optimizer.zero_grad()
            loss = self.loss(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            self._running += loss.item()

    def stop(self) -> None:
        """Ends the workers."""
        self._batches = None

    def _next(self) -> Any:
        assert self._batches is not None
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = iter(self.loader)
            return next(self._batches)


class PilImages(Dataset[tuple[Tensor, int]]):
    """A data set as torchvision's CIFAR10: an array in memory, a PIL image and its transforms for each access."""

    def __init__(self, data: ResidentData) -> None:
        self.pixels = data.train.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.labels = data.train.labels.tolist()
        mean, std = (part.flatten().div(255).tolist() for part in (data.mean, data.std))
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]

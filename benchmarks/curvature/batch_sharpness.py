"""Coverage of the 95% interval of batch sharpness, of networks before and in training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import stdev
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.curvature.minibatches import brute_force, disjoint, independent, small_problem
from benchmarks.curvature.snapshots import first, trained, untrained
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from estimators import BatchSharpness, batch_sharpness
from estimators.trace.student_t import student_quantile
from orchestrator.training.data.data_splits import DataSplits

_LEVEL = 0.95
_COUNTS = (5, 10, 20, 32, 40)
"""Numbers of minibatches; 32 is the default of the quantity."""
_BATCH_SIZES = (8, 32)


@dataclass(frozen=True)
class CoverageSizes:
    samples: int
    """Number of images of the small network and of the CNN."""
    epochs: tuple[int, ...]
    """Epochs after which the networks are measured."""
    pool: int
    """Number of minibatches over which the true mean is taken."""
    cnn_pool: int
    runs: int
    """Number of intervals per case."""
    compared: int
    """Number of minibatches that are compared one by one."""


SIZES: dict[Scale, CoverageSizes] = {
    "full": CoverageSizes(2000, (0, 5, 30), 20_000, 1000, 4000, 200),
    "quick": CoverageSizes(640, (0, 2), 1000, 20, 100, 20),
    "tiny": CoverageSizes(320, (0, 1), 50, 4, 10, 5),
}

Ratios = Callable[[Tensor], Tensor]
"""Maps minibatches [count, size] of sample numbers to g'Hg / g'g of each."""


@dataclass(frozen=True)
class Snapshot:
    network: str
    epoch: int
    samples: int
    ratios: Ratios
    pool: int
    """Number of minibatches over which the true mean is taken."""


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Compares single minibatches by brute force, then measures the coverage on every snapshot."""
    sizes = SIZES[settings.scale]
    torch.set_num_threads(settings.threads)
    data = resident_data(settings, sizes.samples)
    yield {"runs": sizes.runs, "compared": sizes.compared, "error": _largest_error(data, sizes)}
    yield {"disjoint": list(_disjoint(data, sizes))}
    cases: list[dict[str, Any]] = []
    for snapshot in _snapshots(data, sizes, settings.threads):
        for size in _BATCH_SIZES:
            cases.append(_coverage(snapshot, size, sizes.runs))
            say(f"  {cases[-1]}")
        yield {"cases": cases}


def _largest_error(data: DataSplits, sizes: CoverageSizes) -> float:
    """The largest error of single minibatches, relative to their mean size, because some may be near zero."""
    model, inputs, labels = small_problem(data, min(sizes.samples, len(data.train)))
    chosen = independent(len(inputs), 8, sizes.compared, _generator(0))
    expected = brute_force(model, inputs, labels, chosen)
    found = batch_sharpness(model, cross_entropy, [(inputs[part], labels[part]) for part in chosen])
    return float((torch.tensor(found.samples, dtype=torch.float64) - expected).abs().max() / expected.abs().mean())


def _snapshots(data: DataSplits, sizes: CoverageSizes, threads: int) -> Iterator[Snapshot]:
    count = min(sizes.samples, len(data.train))
    images, digits = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images / 16.0 - 0.3)
    yield from _trained("48-16-10", *small_problem(data, count), sizes)
    yield from _trained("digits, ReLU", _mlp(nn.ReLU), pixels, torch.from_numpy(digits), sizes)
    yield from _trained("digits, tanh", _mlp(nn.Tanh), pixels, torch.from_numpy(digits), sizes)
    part, stages = first(data, count), {str(epoch): epoch for epoch in sizes.epochs if epoch}
    for snapshot in (untrained("cnn", part, 0), *trained("cnn", "sgd", part, 0, stages, threads)):
        epoch = int(snapshot.stage) if snapshot.stage in stages else 0
        ratios = _estimated(snapshot.model, *batch(data, count))
        yield Snapshot("the paper's CNN", epoch, count, ratios, sizes.cnn_pool)


def _mlp(activation: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, 10))
    return model.double()


def _trained(
    network: str, model: nn.Module, inputs: Tensor, labels: Tensor, sizes: CoverageSizes
) -> Iterator[Snapshot]:
    """Trains with SGD on minibatches of 32 and yields the network after the chosen epochs."""
    optimizer, order = torch.optim.SGD(model.parameters(), lr=0.1), _generator(0)
    for epoch in range(max(sizes.epochs) + 1):
        if epoch in sizes.epochs:
            yield Snapshot(
                network, epoch, len(inputs), lambda chosen: brute_force(model, inputs, labels, chosen), sizes.pool
            )
        for part in torch.randperm(len(inputs), generator=order).split(32):
            optimizer.zero_grad()
            cross_entropy(model(inputs[part]), labels[part]).backward()
            optimizer.step()


def _estimated(model: nn.Module, inputs: Tensor, labels: Tensor) -> Ratios:
    def ratios(chosen: Tensor) -> Tensor:
        found = batch_sharpness(model, cross_entropy, [(inputs[part], labels[part]) for part in chosen])
        return torch.tensor(found.samples, dtype=torch.float64)

    return ratios


def _coverage(snapshot: Snapshot, size: int, runs: int) -> dict[str, Any]:
    """How often intervals of minibatches that are drawn from a pool contain the mean of the pool."""
    pool = snapshot.ratios(independent(snapshot.samples, size, snapshot.pool, _generator(1)))
    skewness = float(((pool - pool.mean()) ** 3).mean() / pool.std(correction=0) ** 3)
    covered, students = {}, {}
    for count in _COUNTS:
        drawn = pool[torch.randint(len(pool), (runs, count), generator=_generator(count))]
        covered[str(count)] = _share(drawn, float(pool.mean()), interval)
        students[str(count)] = _share(drawn, float(pool.mean()), _student)
    return {
        "network": snapshot.network,
        "epoch": snapshot.epoch,
        "size": size,
        "pool": len(pool),
        "skewness": skewness,
        "coverage": covered,
        "student": students,
    }


def _disjoint(data: DataSplits, sizes: CoverageSizes) -> Iterator[dict[str, Any]]:
    """The coverage of disjoint minibatches that use a tenth of the samples, and all of them."""
    model, inputs, labels = small_problem(data, min(sizes.samples, len(data.train)))
    runs = sizes.runs // 4
    for size in _BATCH_SIZES:
        everything = len(inputs) // size
        many = independent(len(inputs), size, sizes.pool, _generator(1))
        truth = float(brute_force(model, inputs, labels, many).mean())
        for count in (max(2, everything // 10), everything):
            draw = _generator(count + 1)
            drawn = torch.cat([disjoint(len(inputs), size, count, draw) for _ in range(runs)])
            samples = brute_force(model, inputs, labels, drawn).view(runs, count)
            found = {"size": size, "count": count, "runs": runs, "coverage": _share(samples, truth, interval)}
            say(f"  disjoint {found}")
            yield found


def _share(runs: Tensor, truth: float, of: Callable[[list[float]], tuple[float, float]]) -> float:
    return sum(low <= truth <= high for low, high in map(of, runs.tolist())) / len(runs)


def interval(samples: list[float]) -> tuple[float, float]:
    """The interval of a result with these samples."""
    return BatchSharpness(sum(samples) / len(samples), 0.0, 1.0, tuple(samples)).interval(_LEVEL)


def _student(samples: list[float]) -> tuple[float, float]:
    count, mean = len(samples), sum(samples) / len(samples)
    half = student_quantile((1.0 + _LEVEL) / 2.0, count - 1.0) * stdev(samples) / sqrt(count)
    return mean - half, mean + half


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(result: Result) -> str:
    """The coverage by network, epoch and number of minibatches, and that of disjoint minibatches."""
    measured = result.measured
    rows = [
        [
            case["network"],
            str(case["epoch"]),
            str(case["size"]),
            number(case["skewness"]),
            *(percent(case["coverage"][str(count)]) for count in _COUNTS),
            percent(case["student"]["32"]),
        ]
        for case in measured["cases"]
    ]
    header = ["network", "epoch", "batch size", "skewness", *(f"{count} minibatches" for count in _COUNTS)]
    others = [[str(one["size"]), str(one["count"]), percent(one["coverage"])] for one in measured["disjoint"]]
    pools = sorted({case["pool"] for case in measured["cases"]}, reverse=True)
    return (
        f"{markdown([*header, 'Student, 32'], rows)}\n\n{measured['runs']:,} intervals per number, of minibatches "
        f"drawn from {' or '.join(f'{pool:,}' for pool in pools)} (the CNN). Largest error of {measured['compared']} "
        f"minibatches against brute force: {measured['error']:.1e} of their mean.\n\n"
        f"{markdown(['size of disjoint minibatches', 'number', 'coverage'], others)}\n\n"
        f"{measured['disjoint'][0]['runs']:,} intervals each, of the network 48-16-10 before training."
    )


BENCHMARK = Benchmark("batch_sharpness", measure, table, threads=1)

"""Accuracy of lambda_max after at most ten products, with and without a coarse start, and of `converged`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.curvature.references import REFERENCES, References
from benchmarks.curvature.snapshots import INIT, OPTIMIZERS, Snapshot, first, trained, untrained
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent
from estimators import HessianOperator, LanczosResult, lanczos
from orchestrator.training.data.data_splits import DataSplits

TOLERANCE = 1e-3
PRODUCTS = 10
_ROUNDING = 5e-4
"""Maximum relative rounding error of a Ritz value in float32. If an estimate exceeds its reference by more than this,
the reference is wrong, because Ritz values are never above lambda_max."""
Way = Callable[[HessianOperator, torch.Generator], LanczosResult]
WAYS: dict[str, Way] = {
    "from a random start": lambda op, draw: lanczos(op, PRODUCTS, TOLERANCE, generator=draw, coarse_fraction=None),
    "coarse to fine": lambda op, draw: lanczos(op, PRODUCTS, TOLERANCE, generator=draw, coarse_fraction=0.1),
}


@dataclass(frozen=True)
class LambdaMaxSizes:
    trained_on: int
    """Number of training images."""
    images: int
    """Number of images in a measurement, the first of the training images."""
    stages: dict[str, int]
    """Maps the name of a stage to its epoch."""
    seeds: dict[str, int]
    """Maps the name of a network to the number of training runs with each optimizer."""
    untrained: int
    """Number of seeds of each network before training."""
    many: int
    """Number of images in the additional measurements on more images."""
    on_many: tuple[tuple[str, str, int, str], ...]
    """The cases that are also measured on more images: network, optimizer, seed and stage."""


_FULL = LambdaMaxSizes(
    trained_on=5000,
    images=500,
    stages={"early": 1, "mid": 3, "late": 8},
    seeds={"mlp": 6, "cnn": 2},
    untrained=6,
    many=5000,
    on_many=(
        ("mlp", "-", 0, INIT),
        ("mlp", "sgd", 0, "early"),
        ("mlp", "adam", 0, "late"),
        ("mlp", "adam", 1, "mid"),
        ("mlp", "sgd", 1, "mid"),
        ("mlp", "adam", 2, "early"),
    ),
)
SIZES: dict[Scale, LambdaMaxSizes] = {
    "full": _FULL,
    "quick": LambdaMaxSizes(1000, 100, {"early": 1}, {"mlp": 1, "cnn": 1}, 1, 1000, (("mlp", "-", 0, INIT),)),
    "tiny": LambdaMaxSizes(64, 16, {"early": 1}, {"mlp": 1}, 1, 32, (("mlp", "-", 0, INIT),)),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains the networks, reads or computes their reference lambda_max, and estimates it by every method."""
    sizes = SIZES[settings.scale]
    data = first(resident_data(settings, sizes.trained_on), sizes.trained_on)
    references = References(REFERENCES if settings.scale == "full" else None)
    cases = []
    for snapshot in _snapshots(data, sizes, settings.threads):
        key = (snapshot.network, snapshot.optimizer, snapshot.seed, snapshot.stage)
        counts = [sizes.images] + [sizes.many] * (key in sizes.on_many)
        cases += [_case(snapshot, *batch(data, count), references) for count in counts]
    yield {"tolerance": TOLERANCE, "most_products": PRODUCTS, "cases": cases}


def table(result: Result) -> str:
    """Hits, reliability of `converged` and number of products, by start, stage of training and number of images."""
    measured = result.measured
    rows = []
    for images in sorted({case["images"] for case in measured["cases"]}):
        of_size = [case for case in measured["cases"] if case["images"] == images]
        groups = {
            "all": of_size,
            "before training": [case for case in of_size if case["stage"] == INIT],
            "in training": [case for case in of_size if case["stage"] != INIT],
        }
        for way in measured["cases"][0]["found"]:
            rows += [_row(way, images, name, group, measured["tolerance"]) for name, group in groups.items() if group]
    header = ["start of Lanczos", "cases", "images", "number", "hits", "converged hits", "converged misses"]
    header += ["until a hit", "until converged", "largest error"]
    return (
        f"{markdown(header, rows, text=2)}\n\nA hit is within {measured['tolerance']:.1%} of the reference. Converged "
        "hits and misses are those for which `converged` is True. Until a hit: median number of products. Until "
        f"converged: median (maximum) number until `converged` or the limit of {measured['most_products']}. Products "
        "of the coarse start count as fractions."
    )


def _row(way: str, images: int, name: str, cases: Sequence[dict[str, Any]], tolerance: float) -> list[str]:
    found = [case["found"][way] for case in cases]
    errors = [abs(one["lambda_max"] / case["lambda_max"] - 1.0) for one, case in zip(found, cases, strict=True)]
    hits = [one["converged"] for one, error in zip(found, errors, strict=True) if error <= tolerance]
    misses = [one["converged"] for one, error in zip(found, errors, strict=True) if not error <= tolerance]
    products = [one["products"] for one in found]
    return [
        way,
        name,
        f"{images:,}",
        str(len(cases)),
        percent(len(hits) / len(cases)),
        percent(sum(hits) / len(hits)) if hits else "",
        f"{sum(misses)} of {len(misses)}",
        number(median(_first_hit(one, case["lambda_max"], tolerance) for one, case in zip(found, cases, strict=True))),
        f"{number(median(products))} ({number(max(products))})",
        f"{max(errors):.2%}",
    ]


def _first_hit(found: dict[str, Any], reference: float, tolerance: float) -> float:
    """Number of products until lambda_max is within the tolerance; the total plus one if it never is."""
    before = found["products"] - len(found["history"])
    near = [abs(value / reference - 1.0) <= tolerance for value in found["history"]]
    return float(before + (near.index(True) + 1 if True in near else len(near) + 1))


def _snapshots(data: DataSplits, sizes: LambdaMaxSizes, threads: int) -> Iterator[Snapshot]:
    for network, seeds in sizes.seeds.items():
        yield from (untrained(network, data, seed) for seed in range(sizes.untrained))
        for seed in range(seeds):
            for optimizer in OPTIMIZERS:
                yield from trained(network, optimizer, data, seed, sizes.stages, threads)


def _case(snapshot: Snapshot, inputs: Tensor, labels: Tensor, references: References) -> dict[str, Any]:
    reference = references.get(snapshot, inputs, labels)
    found: dict[str, dict[str, Any]] = {}
    for way, measure in WAYS.items():
        op = HessianOperator(snapshot.model, cross_entropy, (inputs, labels))
        result = measure(op, torch.Generator().manual_seed(snapshot.seed))
        found[way] = {
            "lambda_max": result.lambda_max,
            "residual": result.residual,
            "error": result.error,
            "converged": result.converged,
            "products": result.products,
            "history": list(result.history),
        }
    most = max(one["lambda_max"] for one in found.values())
    if most > (1.0 + _ROUNDING) * reference.lambda_max:
        say(f"  {snapshot.name}: recomputing the reference {reference.lambda_max:.6g}, an estimate is {most:.6g}")
        reference = references.recompute(snapshot, inputs, labels)
    summary = ", ".join(
        f"{way} {one['lambda_max'] / reference.lambda_max - 1.0:+.1e} in {one['products']:.1f}"
        f"{' converged' if one['converged'] else ''}"
        for way, one in found.items()
    )
    say(f"  {snapshot.name}, {len(labels)} images: {reference.lambda_max:.4g}, {summary}")
    return {**asdict(reference), "stage": snapshot.stage, "found": found}


BENCHMARK = Benchmark("lambda_max", measure, table)

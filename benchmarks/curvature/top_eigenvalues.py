"""The five largest eigenvalues of the paper's CNN in training, to 1%: products, time and accuracy."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.curvature import peers
from benchmarks.curvature.families import best_chunk
from benchmarks.curvature.problems import PeerProblem
from benchmarks.curvature.snapshots import Snapshot, first, trained
from benchmarks.curvature.top_peers import Found, Goal, Task, fewest_steps, installed, ours
from benchmarks.curvature.top_references import COUNT, TOP_REFERENCES, TopReference, TopReferences
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import interleaved, ratio, say_sample

OURS, EIGENTHINGS = "ours", "hessian-eigenthings"
TOLERANCE = 0.01
_ROUNDING = 1e-5
"""Maximum relative rounding error of a Ritz value in float32."""


@dataclass(frozen=True)
class TopSizes:
    trained_on: int
    """Number of training images."""
    images: int
    """Number of images in a measurement, the first of the training images."""
    snapshots: tuple[tuple[str, int, dict[str, int]], ...]
    """Optimizer, seed, and the epochs of the stages by name."""
    rounds: int
    search_images: int
    """Number of images in the search for each library's best chunk size."""
    parts: tuple[int, ...]
    """Numbers of chunks that are tried on these images."""


_EARLY_AND_LATE = {"early": 1, "late": 8}
SIZES: dict[Scale, TopSizes] = {
    "full": TopSizes(5000, 5000, (("sgd", 0, {"late": 8}), ("adam", 0, {"mid": 3})), 1, 500, (1, 2, 4, 10)),
    "quick": TopSizes(1000, 1000, (("sgd", 0, _EARLY_AND_LATE), ("adam", 0, _EARLY_AND_LATE)), 1, 500, (1, 4)),
    "tiny": TopSizes(64, 16, (("sgd", 0, {"early": 1}),), 1, 16, (1, 2)),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Trains the networks and computes the eigenvalues of each snapshot by every implementation, interleaved."""
    sizes = SIZES[settings.scale]
    data = first(resident_data(settings, sizes.trained_on), sizes.trained_on)
    references = TopReferences(None if settings.scale == "tiny" else TOP_REFERENCES)
    for name in peers.missing():
        say(f"  {name} is skipped because it is not installed: pip install 'hessian-dynamics[bench]'")
    parameters = {"tolerance": TOLERANCE, "images": sizes.images, "trained_on": sizes.trained_on}
    cases: list[dict[str, Any]] = []
    for optimizer, seed, stages in sizes.snapshots:
        for snapshot in trained("cnn", optimizer, data, seed, stages, settings.threads):
            inputs, labels = batch(data, sizes.images)
            reference = references.of(snapshot, inputs, labels)
            say(f"  {reference}")
            with peers.quiet():
                cases.append(_case(snapshot, inputs, labels, reference, sizes))
            yield {**parameters, "cases": cases}


def _case(
    snapshot: Snapshot, inputs: Tensor, labels: Tensor, reference: TopReference, sizes: TopSizes
) -> dict[str, Any]:
    problem = PeerProblem(snapshot.model, inputs, labels)
    tasks: dict[str, Task] = {OURS: ours(problem, Goal(COUNT, TOLERANCE, 0))}
    chunks: dict[str, int] = {}
    steps = 0
    for name, peer in installed().items():
        if name == EIGENTHINGS:
            steps = max(fewest_steps(problem, reference.values, TOLERANCE, seed) for seed in range(sizes.rounds))
        chunks[name] = _chunk(problem.part(sizes.search_images), peer.products, sizes.parts)
        tasks[name] = peer.build(problem, chunks[name], Goal(COUNT, TOLERANCE, steps))
    found: dict[str, list[Found]] = {name: [] for name in tasks}

    def timed(name: str, seed: int) -> None:
        found[name].append(tasks[name](seed))

    seconds = interleaved({name: partial(timed, name) for name in tasks}, sizes.rounds, on_sample=say_sample)
    for name, runs in found.items():
        say(f"  {snapshot.name}, {name}: {[run.products for run in runs]} products, {runs[0].values}")
    return {
        "reference": asdict(reference),
        "chunks": chunks,
        "seconds": seconds,
        "found": {name: [asdict(run) for run in runs] for name, runs in found.items()},
    }


def _chunk(part: PeerProblem, library: str, parts: Sequence[int]) -> int:
    """The chunk size of the library's fastest product on a part of the images."""
    build = next(iter(peers.installed()[library].values()))
    vector = torch.randn(part.size, generator=torch.Generator().manual_seed(0))
    chunk, _ = best_chunk(lambda problem, size: build(problem, size).product, part, vector, parts)
    return chunk


def table(result: Result) -> str:
    """Products, time and accuracy of every implementation, over all snapshots and by snapshot."""
    cases = result.measured["cases"]
    names = list(cases[0]["seconds"])
    seconds = {name: [sample for case in cases for sample in case["seconds"][name]] for name in names}
    rows = [_row(result, name, cases, seconds) for name in names]
    header = ["implementation", "products (range)", "s (range)", "this / ours (95%)", "largest error", "accurate runs"]
    by_case = [_case_row(case, names) for case in cases]
    second = ["snapshot", "eigenvalues", *(f"{name}: products" for name in names)]
    images, trained_on = result.measured["images"], result.measured["trained_on"]
    tolerance = result.measured["tolerance"]
    return (
        f"{markdown(header, rows)}\n\n{len(cases)} snapshots of the paper's CNN trained on {trained_on:,} images, "
        f"measured on {images:,} images on one thread; runs per snapshot: {len(seconds[OURS]) // len(cases)}. "
        f"Error: relative, of the worst of {COUNT} eigenvalues. Accurate: all within {tolerance:.0%}. "
        f"{_claims(cases)}\n\n{markdown(second, by_case, text=2)}"
    )


def _row(result: Result, name: str, cases: Sequence[dict[str, Any]], seconds: dict[str, list[float]]) -> list[str]:
    errors = [
        largest_error(run["values"], case["reference"]["values"]) for case in cases for run in case["found"][name]
    ]
    products = [run["products"] for case in cases for run in case["found"][name]]
    sizes = sorted({case["chunks"][name] for case in cases}) if name != OURS else []
    chunks = f", chunks of {' or '.join(map(str, sizes))}" if sizes else ""
    library, _, tail = name.partition(" with ")
    version = result.version(tail or library)
    return [
        f"{name}{' ' if version else ''}{version}{chunks}",
        spread(products),
        spread(seconds[name]),
        "" if name == OURS else str(ratio(seconds[name], seconds[OURS])),
        f"{max(errors):.2%}",
        f"{sum(error <= result.measured['tolerance'] for error in errors)} of {len(errors)}",
    ]


def largest_error(values: Sequence[float], references: Sequence[float]) -> float:
    """Largest relative error of the eigenvalues."""
    return max(abs(value / true - 1.0) for value, true in zip(values, references, strict=True))


def _case_row(case: dict[str, Any], names: Sequence[str]) -> list[str]:
    products = [number(median(run["products"] for run in case["found"][name])) for name in names]
    return [case["reference"]["name"], ", ".join(map(number, case["reference"]["values"])), *products]


def _claims(cases: Sequence[dict[str, Any]]) -> str:
    """A sentence on our residuals, errors and `converged`, and one on the references."""
    runs = [(run, case["reference"]["values"]) for case in cases for run in case["found"][OURS]]
    pairs = COUNT * len(runs)
    near = sum(map(sum, (_within(run, true, "residuals", _nearest) for run, true in runs)))
    bounded = sum(map(sum, (_within(run, true, "errors", _same_rank) for run, true in runs)))
    converged = sum(sum(run["converged"]) for run, _ in runs)
    difference = max(case["reference"]["eigsh_difference"] for case in cases)
    return (
        f"Ours: {near} of {pairs} residuals and {bounded} of {pairs} errors hold, and {converged} pairs claim "
        f"convergence. The references differ from `eigsh` at a tight tolerance by at most a relative {difference:.0e}."
    )


def _within(
    run: dict[str, Any], true: Sequence[float], bound: str, distance: Callable[[float, int, Sequence[float]], float]
) -> list[bool]:
    """Whether the distance of each value is at most its bound, except for rounding."""
    pairs = enumerate(zip(run["values"], run[bound], strict=True))
    return [distance(value, rank, true) <= most + _ROUNDING * true[0] for rank, (value, most) in pairs]


def _nearest(value: float, _: int, true: Sequence[float]) -> float:
    return min(abs(value - one) for one in true)


def _same_rank(value: float, rank: int, true: Sequence[float]) -> float:
    return abs(value - true[rank])


BENCHMARK = Benchmark("top_eigenvalues", measure, table, threads=1)

"""The five largest eigenvalues of the paper's CNN in training, to 1%: products, time and accuracy.

Implementations are compared for a user who does not know the eigenvalues:

- ours, PyHessian and SciPy's `eigsh` stop by their own tests; the first and the last at a tolerance of 1%;
- hessian-eigenthings runs a given number of Lanczos steps. It only reports whether residuals are below a tolerance, so
  the number of steps is doubled from its default of 2 k until they are below 1%. A second row gives it the fewest steps
  after which all eigenvalues are within 1% of the references, a lower bound that no user can know.

Times are CPU times of one thread, which other processes disturb less than wall times.
`python -m benchmarks top_eigenvalues --only bounds sgd-1-mid-5000` runs two cases and keeps the others' stored results.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.curvature import peers
from benchmarks.curvature.families import best_chunk
from benchmarks.curvature.problems import PeerProblem
from benchmarks.curvature.snapshots import Snapshot, first, trained
from benchmarks.curvature.top_peers import KNOWN_STEPS, Found, Goal, Task, fewest_steps, installed, ours
from benchmarks.curvature.top_references import COUNT, TOP_REFERENCES, TopReferences
from benchmarks.curvature.top_tables import BOUNDS, OURS, TOLERANCE, table
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.timing import interleaved, say_sample
from orchestrator.training.data.data_splits import DataSplits

STAGES = {"early": 1, "mid": 3, "late": 8}
"""The epochs of the stages."""


@dataclass(frozen=True)
class Case:
    optimizer: str
    seed: int
    stage: str
    images: int
    """Number of images in a measurement, the first of the training images."""

    @property
    def name(self) -> str:
        """Name such as ``sgd-0-late-5000``."""
        return f"{self.optimizer}-{self.seed}-{self.stage}-{self.images}"


@dataclass(frozen=True)
class TopSizes:
    trained_on: int
    """Number of training images."""
    compared: tuple[Case, ...]
    """Cases in which all implementations run."""
    bounds: tuple[Case, ...]
    """Cases in which only ours runs, to check its bounds."""
    runs: int
    """Number of random starts in each of these."""
    search_images: int
    """Number of images in the search for each library's best chunk size."""
    parts: tuple[int, ...]
    """Numbers of chunks that are tried on these images."""


def _cases(images: int, stages: Iterable[str] = STAGES) -> tuple[Case, ...]:
    return tuple(
        Case(optimizer, seed, stage, images) for optimizer in ("sgd", "adam") for seed in (0, 1) for stage in stages
    )


SIZES: dict[Scale, TopSizes] = {
    "full": TopSizes(5000, _cases(5000, ["mid"]) + _cases(1000), _cases(250), 5, 500, (2, 4, 10)),
    "quick": TopSizes(1000, (Case("sgd", 0, "mid", 500),), (Case("sgd", 0, "early", 250),), 1, 500, (1, 4)),
    "tiny": TopSizes(64, (Case("sgd", 0, "early", 16),), (Case("sgd", 0, "early", 8),), 2, 16, (1, 2)),
}


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Computes the eigenvalues in each chosen case by every implementation, and checks our bounds."""
    sizes = SIZES[settings.scale]
    chosen = settings.chosen({BOUNDS: None, **{case.name: case for case in sizes.compared}})
    data = first(resident_data(settings, sizes.trained_on), sizes.trained_on)
    references = TopReferences(None if settings.scale == "tiny" else TOP_REFERENCES)
    for name in peers.missing():
        say(f"  {name} is skipped because it is not installed: pip install 'hessian-dynamics[bench]'")
    yield {"trained_on": sizes.trained_on}
    for name, case in chosen.items():
        if case is None:
            yield {
                BOUNDS: [_measure_bounds(each, data, references, sizes.runs, settings.threads) for each in sizes.bounds]
            }
        else:
            with peers.quiet():
                yield {name: _compare_libraries(case, data, references, sizes, settings.threads)}


def _snapshot(case: Case, data: DataSplits, threads: int) -> tuple[Snapshot, PeerProblem]:
    (snapshot,) = trained("cnn", case.optimizer, data, case.seed, {case.stage: STAGES[case.stage]}, threads)
    return snapshot, PeerProblem(snapshot.model, *batch(data, case.images))


def _measure_bounds(case: Case, data: DataSplits, references: TopReferences, runs: int, threads: int) -> dict[str, Any]:
    """Our results from several random starts."""
    snapshot, problem = _snapshot(case, data, threads)
    reference = references.get(snapshot, problem.inputs, problem.targets)
    task = ours(problem, Goal(COUNT, TOLERANCE, 0))
    found = [task(seed) for seed in range(runs)]
    say(f"  {reference}: {[run.products for run in found]} products")
    return {"reference": asdict(reference), "found": {OURS: [asdict(run) for run in found]}}


def _compare_libraries(
    case: Case, data: DataSplits, references: TopReferences, sizes: TopSizes, threads: int
) -> dict[str, Any]:
    """Results and CPU times of every implementation from one random start."""
    snapshot, problem = _snapshot(case, data, threads)
    reference = references.get(snapshot, problem.inputs, problem.targets)
    say(f"  {reference}")
    tasks: dict[str, Task] = {OURS: ours(problem, Goal(COUNT, TOLERANCE, 0))}
    chunks: dict[str, int] = {}
    best: dict[str, int] = {}
    for name, peer in installed().items():
        steps = fewest_steps(problem, reference.values, TOLERANCE, seed=0) if name == KNOWN_STEPS else 0
        if peer.products not in best:
            best[peer.products] = _chunk(problem.part(sizes.search_images), peer.products, sizes.parts)
        chunks[name] = best[peer.products]
        tasks[name] = peer.build(problem, chunks[name], Goal(COUNT, TOLERANCE, steps))
    found: dict[str, list[Found]] = {name: [] for name in tasks}

    def timed(name: str, seed: int) -> None:
        found[name].append(tasks[name](seed))

    timers = {name: partial(timed, name) for name in tasks}
    seconds = interleaved(timers, rounds=1, on_sample=say_sample, clock=time.process_time)
    for name, (run,) in found.items():
        say(f"  {case.name}, {name}: {run.products} products, {run.values}")
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


BENCHMARK = Benchmark("top_eigenvalues", measure, table, threads=1)

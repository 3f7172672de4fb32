"""Time of Algorithm 1, 20 Hessian-vector products, by our code, the paper's equations and three libraries."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.curvature.peers import Build, Implementation, installed, missing, ours, paper, quiet
from benchmarks.curvature.problems import PeerProblem
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.flops import PRODUCT_KEPT, PRODUCT_REBUILT, counted, network_flops
from benchmarks.harness.images import batch, resident_data
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import Samples, fastest, interleaved, ratio, say_sample
from benchmarks.harness.trials import paper_cnn

OURS, PAPER = "ours", "as the paper writes it"
STEPS = 10
"""Number of power iterations and of probes in Algorithm 1."""


@dataclass(frozen=True)
class ProductsSizes:
    images: int
    search_images: int
    """Number of images in the search for each library's best chunk size."""
    chunks: tuple[int, ...]
    paper_steps: int
    """Number of timed iterations and of probes of the paper's equations. The total is extrapolated."""
    rounds: int
    steps: int = STEPS


SIZES: dict[Scale, ProductsSizes] = {
    "full": ProductsSizes(5000, 500, (50, 125, 250, 500), paper_steps=1, rounds=2),
    "quick": ProductsSizes(500, 250, (50, 125), paper_steps=1, rounds=1, steps=2),
    "tiny": ProductsSizes(20, 10, (5, 10), paper_steps=1, rounds=1, steps=2),
}


def _sizes(settings: Settings) -> ProductsSizes:
    sizes = SIZES[settings.scale]
    if settings.device.type == "cpu" or settings.scale != "full":
        return sizes
    return replace(sizes, search_images=sizes.images, chunks=(500, 1250, 5000))  # larger chunks suit a GPU


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Finds the best chunk size of each library, compares one product of each, and times Algorithm 1, interleaved."""
    with quiet():
        yield _measured(settings)


def _measured(settings: Settings) -> dict[str, Any]:
    sizes = _sizes(settings)
    data = resident_data(settings, sizes.images).to(settings.device)
    model = paper_cnn(data).eval().to(settings.device)
    problem = PeerProblem(model, *batch(data, sizes.images))
    for name in missing():
        say(f"  {name} is skipped because it is not installed: pip install 'hessian-dynamics[bench]'")
    torch.manual_seed(0)  # for the vectors that the libraries draw
    built = {OURS: ours(problem), PAPER: paper(problem)}
    search, chosen = {}, {}
    for name, ways in installed().items():
        way, chunk, search[name] = _best_chunk(problem.part(sizes.search_images), ways, sizes)
        chosen[name] = {"way": way, "chunk": chunk}
        built[name] = ways[way](problem, chunk)
        say(f"  {name}: best with chunks of {chunk} {way}")
    vector = torch.randn(sum(parameter.numel() for parameter in model.parameters()), device=settings.device)
    errors = _relative_errors(built, vector)
    samples = interleaved(_tasks(built, sizes), sizes.rounds, on_sample=say_sample)
    flops = network_flops(model, data.shape)
    return {
        "images": sizes.images,
        "steps": sizes.steps,
        "products": 2 * sizes.steps,
        "chosen": chosen,
        "search": search,
        "relative_error_of_one_product": errors,
        "paper_steps": sizes.paper_steps,
        "samples": samples,
        "forward_flops_per_image": flops.forward,
        "counted_product_in_forwards": counted(lambda: paper(problem.part(8)).product(vector)) / 8 / flops.forward,
    }


def table(result: Result) -> str:
    """Seconds by implementation, also relative to ours and to the arithmetic limit."""
    measured = result.measured
    totals = totals_by_name(measured)
    limit = _limit(result, PRODUCT_REBUILT)
    rows = []
    for name, samples in sorted(totals.items(), key=lambda item: (item[0] != OURS, median(item[1]))):
        chosen = measured["chosen"].get(name)
        way = f", {chosen['way']}" if chosen and chosen["way"] else ""
        label = name if chosen is None else f"{name} {result.version(name)}, chunks of {chosen['chunk']}{way}"
        relative = "" if name == OURS else str(ratio(samples, totals[OURS]))
        error = "" if name == OURS else f"{measured['relative_error_of_one_product'][name]:.0e}"
        rows.append([label, spread(samples), relative, number(median(samples) / limit), error])
    header = ["implementation", "s (range)", "this / ours (range)", "this / limit", "Hv difference"]
    return (
        f"{markdown(header, rows)}\n\n{measured['steps']} power iterations and {measured['steps']} probes over "
        f"{measured['images']:,} images. Arithmetic limit at {result.machine.best_gflops:.0f} GFLOP/s: "
        f"{number(limit)} s at {PRODUCT_REBUILT} forward passes per product (torch counts "
        f"{measured['counted_product_in_forwards']:.2f}), {number(_limit(result, PRODUCT_KEPT))} s at {PRODUCT_KEPT} "
        "with a kept graph."
    )


def totals_by_name(measured: dict[str, Any]) -> Samples:
    """Seconds of power iteration and trace together, by implementation and round; extrapolated for the paper's."""
    totals: Samples = {}
    for task, samples in measured["samples"].items():
        name, _, _ = task.rpartition(": ")
        scale = measured["steps"] / measured["paper_steps"] if name == PAPER else 1.0
        before = totals.get(name, [0.0] * len(samples))
        totals[name] = [total + scale * sample for total, sample in zip(before, samples, strict=True)]
    return totals


def _limit(result: Result, forwards: int) -> float:
    measured = result.measured
    flops = measured["products"] * forwards * measured["forward_flops_per_image"] * measured["images"]
    return float(flops / result.machine.best_gflops / 1e9)


def _best_chunk(problem: PeerProblem, ways: dict[str, Build], sizes: ProductsSizes) -> tuple[str, int, Samples]:
    """The fastest way and chunk size for one iteration and two probes, and all samples by ``way|chunk``."""
    tasks = {
        f"{way}|{chunk}": partial(_few_products, build(problem, chunk))
        for way, build in ways.items()
        for chunk in sizes.chunks
    }
    best, samples = fastest(tasks)
    way, _, chunk = best.rpartition("|")
    return way, int(chunk), samples


def _few_products(built: Implementation) -> None:
    built.power(1)
    built.trace(2)


def _tasks(built: dict[str, Implementation], sizes: ProductsSizes) -> dict[str, Callable[[int], object]]:
    tasks: dict[str, Callable[[int], object]] = {}
    for half in ("power", "trace"):
        for name, implementation in built.items():
            steps = sizes.paper_steps if name == PAPER else sizes.steps
            task = getattr(implementation, half)
            tasks[f"{name}: {half}"] = lambda number, task=task, steps=steps: task(steps)  # type: ignore[misc]
    return tasks


def _relative_errors(built: dict[str, Implementation], vector: Tensor) -> dict[str, float]:
    """||theirs - ours|| / ||ours|| of the product H v, by implementation.

    Raises:
        RuntimeError: a difference exceeds 1e-3.
    """
    products = {name: implementation.product(vector) for name, implementation in built.items()}
    reference = products.pop(OURS)
    errors = {name: float((product - reference).norm() / reference.norm()) for name, product in products.items()}
    for name, error in errors.items():
        say(f"  {name}: relative difference of Hv from ours {error:.1e}")
        if error > 1e-3:
            raise RuntimeError(
                f"{name}: Hv differs from ours by {error:.2g}, expected at most 1e-3; fix it before timing"
            )
    return errors


BENCHMARK = Benchmark("products", measure, table)

"""Algorithm 1's 20 Hessian-vector products: as the paper writes them, here, and by three other libraries."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.curvature.peers import Build, Implementation, Problem, installed, missing, ours, paper, quiet
from benchmarks.harness.flops import PRODUCT_KEPT, PRODUCT_REBUILT, counted, network_flops
from benchmarks.harness.images import batch, on_device, resident_data
from benchmarks.harness.results import Result, begin, finish
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, spread
from benchmarks.harness.timing import Samples, interleaved, ratio
from orchestrator.study.model_config import CnnConfig
from orchestrator.training.models.networks import build_model

NAME = "products"
OURS, PAPER = "ours", "as the paper writes it"
STEPS = 10
"""Power iterations, and probes: Algorithm 1's 10 and 10."""


@dataclass(frozen=True)
class Sizes:
    """How much is timed."""

    images: int
    search_images: int
    """On so many images every library's best chunk is sought."""
    chunks: tuple[int, ...]
    paper_steps: int
    """So many of the paper's 10 and 10 products, which all cost the same; the rest is added in proportion."""
    rounds: int
    steps: int = STEPS


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(5000, 500, (50, 125, 250, 500), paper_steps=1, rounds=2),
    "quick": Sizes(500, 250, (50, 125), paper_steps=1, rounds=1, steps=2),
    "tiny": Sizes(20, 10, (5, 10), paper_steps=1, rounds=1, steps=2),
}


def _sizes(settings: Settings) -> Sizes:
    sizes = SIZES[settings.scale]
    if settings.device.type == "cpu" or settings.scale != "full":
        return sizes
    return replace(sizes, search_images=sizes.images, chunks=(500, 1250, 5000))  # a GPU wants larger ones


def run(settings: Settings) -> Result:
    """Seeks every library's best chunk, compares one product of all, and times 10 + 10 in turns."""
    with quiet():
        return _run(settings)


def _run(settings: Settings) -> Result:
    machine, sizes = begin(NAME, settings), _sizes(settings)
    data = on_device(resident_data(settings, sizes.images), settings.device)
    model = build_model(CnnConfig(name="cnn"), data.shape, len(data.classes), seed=0).eval().to(settings.device)
    problem = Problem(model, *batch(data, sizes.images))
    for name in missing():
        say(f"  {name} is not installed and left out: pip install 'hessian-dynamics[bench]'")
    torch.manual_seed(0)  # of the vectors that every library draws for itself
    search = {name: _search(problem.part(sizes.search_images), ways, sizes) for name, ways in installed().items()}
    chosen = {name: _best(candidates) for name, candidates in search.items()}
    for name, (way, chunk) in chosen.items():
        say(f"  {name}: best with chunks of {chunk} {way}")
    built = {OURS: ours(problem), PAPER: paper(problem)}
    built |= {name: installed()[name][way](problem, chunk) for name, (way, chunk) in chosen.items()}
    errors = _relative_errors(built, sum(parameter.numel() for parameter in model.parameters()), settings.device)
    samples = interleaved(
        _tasks(built, sizes),
        sizes.rounds,
        on_sample=lambda name, at, taken: say(f"  round {at}: {name} {taken:.1f} s"),
    )
    flops = network_flops(model, data.shape)
    measured = {
        "images": sizes.images,
        "steps": sizes.steps,
        "products": 2 * sizes.steps,
        "chosen": {name: {"way": way, "chunk": chunk} for name, (way, chunk) in chosen.items()},
        "search": search,
        "relative_error_of_one_product": errors,
        "paper_steps": sizes.paper_steps,
        "samples": samples,
        "forward_flops_per_image": flops.forward,
        "counted_product_in_forwards": counted(_one_product(problem.part(8))) / 8 / flops.forward,
    }
    return finish(NAME, settings, machine, measured)


def table(result: Result) -> str:
    """Seconds of all products by every implementation, beside ours and beside the arithmetic limit."""
    measured = result.measured
    totals = totals_by_name(measured)
    limit = _limit(result, PRODUCT_REBUILT)
    rows = []
    for name, samples in sorted(totals.items(), key=lambda item: (item[0] != OURS, median(item[1]))):
        chosen = measured["chosen"].get(name)
        way = f", {chosen['way']}" if chosen and chosen["way"] else ""
        label = name if chosen is None else f"{name} {_version(result, name)}, chunks of {chosen['chunk']}{way}"
        beside = "" if name == OURS else str(ratio(samples, totals[OURS]))
        error = "" if name == OURS else f"{measured['relative_error_of_one_product'][name]:.0e}"
        rows.append([label, spread(samples), beside, number(median(samples) / limit), error])
    header = ["implementation", "s (range)", "this / ours (range)", "this / limit", "Hv beside ours"]
    return (
        f"{markdown(header, rows)}\n\n{measured['steps']} power iterations and {measured['steps']} probes over "
        f"{measured['images']:,} images. Arithmetic limit at {result.machine.best_gflops:.0f} GFLOP/s: "
        f"{number(limit)} s at {PRODUCT_REBUILT} forward passes a product (torch counts "
        f"{measured['counted_product_in_forwards']:.2f}), {number(_limit(result, PRODUCT_KEPT))} s at {PRODUCT_KEPT}, "
        "with the graph kept."
    )


def totals_by_name(measured: dict[str, Any]) -> Samples:
    """Seconds of power iteration and trace together, every round of every implementation, the paper's in proportion."""
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


def _version(result: Result, name: str) -> str:
    return result.versions.get(name) or result.versions.get(f"{name}-for-pytorch", "")


def _search(problem: Problem, ways: dict[str, Build], sizes: Sizes) -> dict[str, list[float]]:
    """Seconds of two iterations and two probes for every way and chunk, twice, in turns; keys ``way|chunk``."""
    tasks = {}
    for way, build in ways.items():
        for chunk in sizes.chunks:
            tasks[f"{way}|{chunk}"] = _few(build(problem, chunk))
    return interleaved(tasks, rounds=2)


def _few(built: Implementation) -> Callable[[int], None]:
    def few(number: int) -> None:
        built.power(1)
        built.trace(2)

    return few


def _best(candidates: dict[str, list[float]]) -> tuple[str, int]:
    way, _, chunk = min(candidates, key=lambda key: min(candidates[key])).rpartition("|")
    return way, int(chunk)


def _tasks(built: dict[str, Implementation], sizes: Sizes) -> dict[str, Callable[[int], object]]:
    tasks: dict[str, Callable[[int], object]] = {}
    for half in ("power", "trace"):
        for name, implementation in built.items():
            steps = sizes.paper_steps if name == PAPER else sizes.steps
            task = getattr(implementation, half)
            tasks[f"{name}: {half}"] = lambda number, task=task, steps=steps: task(steps)  # type: ignore[misc]
    return tasks


def _relative_errors(built: dict[str, Implementation], size: int, device: torch.device) -> dict[str, float]:
    """||theirs - ours|| / ||ours|| of H v for one random v, the first product of each."""
    vector = torch.randn(size, device=device)
    products = {name: implementation.product(vector) for name, implementation in built.items()}
    reference = products.pop(OURS)
    errors = {name: float((product - reference).norm() / reference.norm()) for name, product in products.items()}
    for name, error in errors.items():
        say(f"  {name}: Hv differs from ours by {error:.1e}, relative")
        if error > 1e-3:
            raise RuntimeError(f"{name} computes another product (relative difference {error:.2g}): nothing to compare")
    return errors


def _one_product(problem: Problem) -> Callable[[], object]:
    """A product by double backward, to be counted."""
    parameters = list(problem.model.parameters())

    def product() -> None:
        loss = cross_entropy(problem.model(problem.inputs), problem.labels)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        torch.autograd.grad(gradients, parameters, [torch.randn_like(parameter) for parameter in parameters])

    return product

"""Time and memory of the exact and the sampled Gauss-Newton trace, compared with BackPACK."""

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.curvature.peers import quiet
from benchmarks.curvature.problems import PeerProblem
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.flops import network_flops
from benchmarks.harness.images import SHAPE, batch, resident_data
from benchmarks.harness.memory import peak_resident_bytes
from benchmarks.harness.results import Result
from benchmarks.harness.settings import Scale, Settings, say
from benchmarks.harness.tables import markdown, number, percent, spread
from benchmarks.harness.timing import fastest, interleaved, ratio, say_sample
from benchmarks.harness.trials import paper_cnn
from estimators import exact_trace, sampled_trace
from orchestrator.study.parts.model_config import CnnConfig
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature

OURS, THEIRS = "ours", "BackPACK"
KINDS = ("exact", "sampled")
_EXTENSIONS = {"exact": ("DiagGGNExact", "diag_ggn_exact"), "sampled": ("DiagGGNMC", "diag_ggn_mc")}
Trace = Callable[[], float]


@dataclass(frozen=True)
class TracesSizes:
    images: int
    search_images: int
    """Number of images in the search for BackPACK's best chunk size."""
    chunks: tuple[int, ...]
    rounds: int


SIZES: dict[Scale, TracesSizes] = {
    "full": TracesSizes(5000, 500, (25, 50, 125, 250), rounds=3),
    "quick": TracesSizes(500, 250, (50, 125), rounds=1),
    "tiny": TracesSizes(20, 10, (5, 10), rounds=1),
}


def _sizes(settings: Settings) -> TracesSizes:
    sizes = SIZES[settings.scale]
    if settings.device.type == "cpu" or settings.scale != "full":
        return sizes
    return replace(sizes, search_images=sizes.images, chunks=(125, 500, 1250))  # larger chunks suit a GPU


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """Finds the best chunk sizes of BackPACK, times all traces interleaved, and measures their memory."""
    sizes = _sizes(settings)
    data = resident_data(settings, sizes.images).to(settings.device)
    problem = PeerProblem(paper_cnn(data).eval().to(settings.device), *batch(data, sizes.images))
    with quiet():
        search, chunks = {}, {}
        for kind in KINDS if importlib.util.find_spec("backpack") else ():
            part = problem.part(sizes.search_images)
            best, search[kind] = fastest({str(chunk): backpack(part, kind, chunk) for chunk in sizes.chunks})
            chunks[kind] = int(best)
            say(f"  {THEIRS}, {kind}: best with chunks of {chunks[kind]}")
        tasks = {f"{OURS}: {kind}": ours(problem, kind) for kind in KINDS}
        tasks |= {f"{THEIRS}: {kind}": backpack(problem, kind, chunk) for kind, chunk in chunks.items()}
        values: dict[str, list[float]] = {name: [] for name in tasks}
        samples = interleaved(
            {name: lambda _, name=name, task=task: values[name].append(task()) for name, task in tasks.items()},  # type: ignore[misc]
            sizes.rounds,
            on_sample=say_sample,
        )
        if settings.device.type == "cuda":
            memory = {name: _peak_on_cuda(task) for name, task in tasks.items()}
        else:
            memory = {name: _peak_of(name, problem, chunks, settings.threads) for name in tasks}
    yield {
        "images": sizes.images,
        "chunks": chunks,
        "search": search,
        "samples": samples,
        "values": values,
        "peak_bytes": memory,
        "forward_flops_per_image": network_flops(problem.model, data.shape).forward,
        "classes": len(data.classes),
    }


def table(result: Result) -> str:
    """Time and memory of both traces by library, and their relative difference from our exact trace."""
    measured = result.measured
    rows = []
    for kind in KINDS:
        ours_taken, exact = measured["samples"][f"{OURS}: {kind}"], measured["values"][f"{OURS}: exact"][0]
        for who in (OURS, THEIRS):
            name = f"{who}: {kind}"
            if name not in measured["samples"]:
                continue
            taken = measured["samples"][name]
            label = who if who == OURS else f"{who}, chunks of {measured['chunks'][kind]}"
            relative = "" if who == OURS else str(ratio(ours_taken, taken))
            peak = f"{measured['peak_bytes'][name] / 2**20:.0f}"
            difference = f"{abs(median(measured['values'][name]) / exact - 1):.0e}"
            rows.append(
                [kind, label, spread(taken), relative, percent(_limit(result, kind) / min(taken)), peak, difference]
            )
    header = ["trace", "by", "s (range)", "ours / this", "limit / fastest", "peak MiB", "difference from exact"]
    return (
        f"{markdown(header, rows, text=2)}\n\n{measured['images']:,} images. Arithmetic limit at "
        f"{result.machine.best_gflops:.0f} GFLOP/s: {number(_limit(result, 'exact'))} s for the exact trace, "
        f"{number(_limit(result, 'sampled'))} s for the sampled one."
    )


def _limit(result: Result, kind: str) -> float:
    """Seconds at the machine's best rate: 1 + 2 (C - 1) forward passes for C classes, 3 for the sampled trace."""
    measured = result.measured
    forwards = 1 + 2 * (measured["classes"] - 1 if kind == "exact" else 1)
    return float(forwards * measured["forward_flops_per_image"] * measured["images"] / result.machine.best_gflops / 1e9)


def ours(problem: PeerProblem, kind: str) -> Trace:
    """Our trace with its default chunk size."""
    trace = exact_trace if kind == "exact" else sampled_trace
    return lambda: trace(problem.model, cross_entropy, (problem.inputs, problem.targets)).value


def backpack(problem: PeerProblem, kind: str, chunk: int) -> Trace:
    """The sum of BackPACK's Gauss-Newton diagonal; with one Monte Carlo sample for the sampled trace."""
    from backpack import backpack as entered
    from backpack import extend, extensions

    extension, attribute = _EXTENSIONS[kind]
    model, loss = extend(problem.copied_model()), extend(nn.CrossEntropyLoss())
    count = len(problem.inputs)

    def trace() -> float:
        total = 0.0
        for inputs, labels in problem.batches(chunk):
            model.zero_grad()
            value = loss(model(inputs), labels)
            with entered(getattr(extensions, extension)()):
                value.backward()
            for parameter in model.parameters():
                total += float(getattr(parameter, attribute).sum()) * len(inputs) / count
                delattr(parameter, attribute)
        return total

    return trace


def _peak_on_cuda(task: Trace) -> int:
    """Peak GPU memory of a trace in bytes, minus the memory in use before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    task()
    return torch.cuda.max_memory_allocated() - before


def _peak_of(name: str, problem: PeerProblem, chunks: dict[str, int], threads: int) -> int:
    """Increase of the peak resident memory caused by a trace, in bytes, measured in a subprocess."""
    # Arrays, because torch passes tensors as file descriptors and closes some of them too early.
    arrays = problem.inputs.numpy(), problem.targets.numpy()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure_peak, name, arrays, chunks, threads).result()


def _measure_peak(name: str, arrays: tuple[Any, Any], chunks: dict[str, int], threads: int) -> int:
    """The increase of the peak resident memory. Runs in the subprocess."""
    torch.set_num_threads(threads)
    inputs, labels = map(torch.from_numpy, arrays)
    model = build_model(CnnConfig(name="cnn"), Signature(SHAPE, int(labels.max()) + 1), seed=0).eval()
    problem = PeerProblem(model, inputs, labels)
    who, _, kind = name.partition(": ")
    with quiet():
        task = ours(problem, kind) if who == OURS else backpack(problem, kind, chunks[kind])
        # A warm-up on two images loads libraries and kernels.
        small = problem.part(2)
        (ours(small, kind) if who == OURS else backpack(small, kind, 2))()
        before = peak_resident_bytes()
        task()
    return peak_resident_bytes() - before


BENCHMARK = Benchmark("traces", measure, table)

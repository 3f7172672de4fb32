"""The command line of the benchmarks: ``python -m benchmarks --help``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.curvature import (
    batch_sharpness,
    families,
    intervals,
    lambda_max,
    products,
    sampled_trace,
    spectral_density,
    stability,
    top_eigenvalues,
    traces,
)
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.report import write_readme
from benchmarks.harness.results import RESULTS, write
from benchmarks.harness.settings import Settings, SkippedError, say
from benchmarks.race import race
from benchmarks.sweeps import memory, orchestration, plan, reproducibility, scaling, volume
from benchmarks.training_loop import evaluation, gpu, measurement, own_quantity, profile, record, training

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        training,
        evaluation,
        measurement,
        record,
        profile,
        own_quantity,
        products,
        families,
        lambda_max,
        traces,
        sampled_trace,
        intervals,
        spectral_density,
        stability,
        batch_sharpness,
        top_eigenvalues,
        race,
        orchestration,
        memory,
        scaling,
        plan,
        reproducibility,
        volume,
        gpu,
    )
}
QUICK_RESULTS = Path("build/benchmarks")
"""Folder of quick results, separate so that they do not replace real ones."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the named benchmarks, or all of them. Stores each result as soon as it is complete."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Benchmarks against other implementations.")
    names = f"{', '.join(BENCHMARKS)}; or report, which only updates the tables; default: all"
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="image folder to use instead of random images")
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="CASE",
        help="cases of families, stability, top_eigenvalues, scaling, plan, memory or gpu",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="for products, traces and measurement")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - {*BENCHMARKS, "report"}:
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; the benchmarks are {', '.join(BENCHMARKS)}")
    if given.data and not given.data.is_dir():
        parser.error(f"--data {str(given.data)!r} is not a folder; expected train/<class>/* and test/<class>/* images")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no GPU; omit the option to measure the CPU")
    data, scale, device = given.data and given.data.resolve(), "quick" if given.quick else "full", given.device
    settings = Settings(data, scale, device=torch.device(device), only=tuple(given.only))  # type: ignore[arg-type]
    chosen = [name for name in given.names if name != "report"] or ([] if given.names else list(BENCHMARKS))
    try:
        for name in chosen:
            _run(BENCHMARKS[name], settings)
    except ValueError as error:  # invalid input, such as an unknown case
        sys.exit(f"error: {error}")
    if not given.quick:
        write_readme(BENCHMARKS.values())


def _run(benchmark: Benchmark, settings: Settings) -> None:
    try:
        result = benchmark.run(settings)
    except SkippedError as why:
        say(f"\n{benchmark.name}: skipped, {why}")
        return
    path = write(result, QUICK_RESULTS if settings.scale == "quick" else RESULTS)
    say(f"\n{benchmark.table(result)}\n\n{benchmark.name}: {path}")


if __name__ == "__main__":
    main()

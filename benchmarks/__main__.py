"""``python -m benchmarks [NAME ...] [--data FOLDER] [--quick]``; ``python -m benchmarks report`` only writes tables."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from benchmarks.curvature import intervals, lambda_max, products, sampled_trace, traces
from benchmarks.harness.report import README, filled, stored
from benchmarks.harness.results import RESULTS, write
from benchmarks.harness.settings import Settings, SkippedError, say
from benchmarks.harness.timing import seconds
from benchmarks.sweeps import orchestration, reproducibility, scaling, volume
from benchmarks.training_loop import evaluation, gpu, measurement, training

# A benchmark is a module with NAME, run(settings) -> Result and table(result) -> Markdown.
BENCHMARKS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        training,
        evaluation,
        measurement,
        products,
        lambda_max,
        traces,
        sampled_trace,
        intervals,
        orchestration,
        scaling,
        reproducibility,
        volume,
        gpu,
    )
}
QUICK_RESULTS = Path("build/benchmarks")
"""A quick run must not take the place of real numbers."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the named benchmarks, all where none is named, and writes each result as soon as it is there."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="What the system costs, beside other ways.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}, or report; all if none")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="image folder instead of random images")
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="some cases of a benchmark in pieces")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="for products, traces, measurement")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - {*BENCHMARKS, "report"}:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if given.data and not given.data.is_dir():
        parser.error(f"--data {str(given.data)!r} is no folder; expected train/<class>/* and test/<class>/* images")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    settings = Settings(
        given.data and given.data.resolve(),
        "quick" if given.quick else "full",
        device=torch.device(given.device),
        only=tuple(given.only),
    )
    chosen = [name for name in given.names if name != "report"] or ([] if given.names else list(BENCHMARKS))
    try:
        for name in chosen:
            _run(name, settings)
    except ValueError as error:  # what the user can mend
        sys.exit(f"error: {error}")
    if not given.quick:
        write_readme()


def _run(name: str, settings: Settings) -> None:
    results = []
    try:
        taken = seconds(lambda: results.append(BENCHMARKS[name].run(settings)))
    except SkippedError as why:
        say(f"\n{name}: skipped, {why}")
        return
    (result,) = results
    path = write(result, QUICK_RESULTS if settings.scale == "quick" else RESULTS)
    say(f"\n{BENCHMARKS[name].table(result)}\n\n{name}: {taken:.0f} s, {path}")


def write_readme() -> None:
    """Puts the tables of all stored results into benchmarks/README.md, and draws their figures beside them."""
    for result in stored(RESULTS):
        if drawn := getattr(BENCHMARKS[result.benchmark], "figure", None):
            drawn(result, RESULTS / result.file_name.replace(".json", ".svg"))
    tables = {name: module.table for name, module in BENCHMARKS.items()}
    README.write_text(filled(README.read_text(), stored(RESULTS), tables))


if __name__ == "__main__":
    main()

"""Writes the tables of README.md from stored results."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import RESULTS, Result, read

README = Path(__file__).parents[1] / "README.md"


def stored(folder: Path) -> list[Result]:
    """The results in a folder, sorted by file name."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def write_readme(benchmarks: Iterable[Benchmark]) -> None:
    """Updates the tables of README.md and the figures from the stored results."""
    benchmarks, results = list(benchmarks), stored(RESULTS)
    for benchmark in benchmarks:
        for result in results:
            if benchmark.figure and result.benchmark == benchmark.name:
                benchmark.figure(result, RESULTS / result.figure_name)
    README.write_text(filled(README.read_text(), results, benchmarks))


def filled(text: str, results: Sequence[Result], benchmarks: Iterable[Benchmark]) -> str:
    """Returns a README with the tables between the markers ``<!-- results: NAME -->`` and ``<!-- end -->``.

    Raises:
        ValueError: the README has no section for a benchmark.
    """
    for benchmark in benchmarks:
        name = benchmark.name
        tables = [f"{benchmark.table(result)}\n\n{_source(result)}" for result in results if result.benchmark == name]
        content = "\n\n".join(tables) or f"Not measured yet: `make bench BENCH={name}`."
        before, start, rest = text.partition(f"<!-- results: {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise ValueError(f"the README has no section for {name}; add <!-- results: {name} --> and <!-- end -->")
        text = f"{before}{start}{content}\n{end}{after}"
    return text


def _source(result: Result) -> str:
    load = result.machine.load
    disturbed = f"; disturbed by other processes (load {load:.1f})" if load > 0.5 * result.machine.cores else ""
    return f"*{result.source}{disturbed}.*"

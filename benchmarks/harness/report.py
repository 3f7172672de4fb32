"""Writes the tables of README.md from the results, so that its numbers cannot be other ones than measured."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.harness.results import Result, read

README = Path(__file__).parents[1] / "README.md"
Table = Callable[[Result], str]


def stored(folder: Path) -> list[Result]:
    """All results of a folder, by file name."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def filled(text: str, results: Sequence[Result], tables: Mapping[str, Table]) -> str:
    """A README with everything between ``<!-- results: NAME -->`` and ``<!-- end -->`` made anew.

    Raises:
        ValueError: where a benchmark has no such place.
    """
    for name, table in tables.items():
        shown = [f"{table(result)}\n\n{_source(result)}" for result in results if result.benchmark == name]
        content = "\n\n".join(shown) or f"Not measured yet: `make bench BENCH={name}`."
        pattern = re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the README has no place for {name}: write <!-- results: {name} --> and <!-- end -->")
        text = pattern.sub(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text)  # type: ignore[misc]
    return text


def _source(result: Result) -> str:
    load = result.machine.load
    disturbed = f"; others were at work (load {load:.1f})" if load > 0.5 * result.machine.cores else ""
    return f"*{result.source}{disturbed}.*"

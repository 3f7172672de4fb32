"""Every benchmark runs at tiny scale and shows its result."""

from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.harness.results import read, write
from benchmarks.harness.settings import Settings, SkippedError

TINY = Settings(scale="tiny", threads=1)
FAST = ("training", "evaluation", "intervals")
"""Benchmarks that take less than ten seconds at tiny scale."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in BENCHMARKS]
)
def test_benchmark_runs(name: str, tmp_path: Path) -> None:
    try:
        result = BENCHMARKS[name].run(TINY)
    except SkippedError as why:
        pytest.skip(str(why))
    table = BENCHMARKS[name].table(read(write(result, tmp_path)))
    assert table == BENCHMARKS[name].table(result)
    assert table.startswith("| ")
    assert "failed" not in table

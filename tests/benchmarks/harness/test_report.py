"""The tables of README.md."""

import re
from dataclasses import replace

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.harness import report
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.results import RESULTS
from tests.benchmarks.machines import MACHINE, result

TWO = [
    Benchmark("one", lambda settings: iter(()), lambda found: "TABLE"),
    Benchmark("two", lambda settings: iter(()), lambda found: "NEVER"),
]


def test_tables_replace_the_text_between_markers() -> None:
    text = "# Story\n<!-- results: one -->\nold\n<!-- end -->\nend\n<!-- results: two -->\n<!-- end -->\n"
    shown = report.filled(text, [result()], TWO)
    assert "# Story\n<!-- results: one -->\nTABLE\n\n*AMD EPYC" in shown
    assert "120 GFLOP/s; torch 2; random images; 2026-11-24, commit aaaaaaa.*\n<!-- end -->\nend\n" in shown
    assert "Not measured yet: `make bench BENCH=two`." in shown
    assert "old" not in shown
    assert "NEVER" not in shown
    assert report.filled(shown, [result()], TWO) == shown


def test_results_on_a_busy_machine_are_marked() -> None:
    busy = replace(MACHINE, load=4.2)
    shown = report.filled("<!-- results: one -->\n<!-- end -->", [result(machine=busy)], TWO[:1])
    assert "; disturbed by other processes (load 4.2).*" in shown


def test_benchmark_without_a_section_is_an_error() -> None:
    with pytest.raises(ValueError, match="no section for one; add <!-- results: one --> and <!-- end -->"):
        report.filled("# Story", [result()], TWO[:1])


def test_readme_is_up_to_date() -> None:
    text = report.README.read_text()
    assert report.filled(text, report.stored(RESULTS), BENCHMARKS.values()) == text, "run python -m benchmarks report"


def test_links_of_the_readme_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", report.README.read_text()):
        assert (report.README.parent / target).exists(), target

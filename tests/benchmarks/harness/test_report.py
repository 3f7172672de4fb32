"""Tables, results as JSON, and the README's numbers."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.harness import report
from benchmarks.harness.machine import Machine, describe
from benchmarks.harness.results import RESULTS, Result, finish, read, write
from benchmarks.harness.settings import Settings
from benchmarks.harness.tables import markdown, number, percent, spread

MACHINE = Machine("AMD EPYC(tm) 7763 64-Core Processor", 2, 2, 16.0, "Linux", 0.1, {"512": 90.0, "1024": 120.0})


def result(benchmark: str = "one", machine: Machine = MACHINE) -> Result:
    return Result(
        benchmark, "2026-11-24T10:00:00+00:00", "a" * 40, "full", "random images", {"torch": "2"}, machine, {}
    )


def test_a_table_lines_up() -> None:
    assert markdown(["loop", "s"], [["ours", "17.2"], ["a bare loop", "9"]]) == (
        "| loop        |    s |\n|-------------|-----:|\n| ours        | 17.2 |\n| a bare loop |    9 |"
    )


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (123.4, 12.34, 1.234, 0.0)] == ["123", "12.3", "1.23", "0.00"]
    assert spread([3.0, 1.0, 2.0], scale=10) == "20.0 (10.0-30.0)"
    assert percent(0.1234) == "12.3%"


def test_a_machine_is_named_by_processor_and_cores() -> None:
    assert MACHINE.slug == "amd-epyc-7763-64-core-2-cores"
    assert MACHINE.best_gflops == 120.0


def test_this_machine_is_described() -> None:
    machine = describe(threads=1, scale="tiny", device=torch.device("cpu"))
    assert machine.threads == 1
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.best_gflops > 0


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    machine = replace(MACHINE, matrix_gflops={"64": 120.0})
    written = finish("one", Settings(scale="tiny"), machine, {"samples": {"ours": [1.5, 2.0]}})
    path = write(written, tmp_path / "results")
    assert path.name == "one-amd-epyc-7763-64-core-2-cores.json"
    assert read(path) == written
    assert written.machine.matrix_gflops["64"] >= 120.0
    assert written.versions["torch"]


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"benchmark": "one"}')
    with pytest.raises(ValueError, match=r"x.json has no date, commit, .*: run its benchmark again, or delete it"):
        read(path)


def test_tables_take_their_places() -> None:
    text = "# Story\n<!-- results: one -->\nold\n<!-- end -->\nend\n<!-- results: two -->\n<!-- end -->\n"
    shown = report.filled(text, [result()], {"one": lambda found: "TABLE", "two": lambda found: "NEVER"})
    assert "# Story\n<!-- results: one -->\nTABLE\n\n*AMD EPYC" in shown
    assert "120 GFLOP/s; torch 2; random images; 2026-11-24, commit aaaaaaa.*\n<!-- end -->\nend\n" in shown
    assert "Not measured yet: `make bench BENCH=two`." in shown
    assert "old" not in shown
    assert "NEVER" not in shown
    tables = {"one": lambda found: "TABLE", "two": lambda found: "NEVER"}
    assert report.filled(shown, [result()], tables) == shown


def test_what_was_disturbed_says_so() -> None:
    busy = replace(MACHINE, load=4.2)
    shown = report.filled("<!-- results: one -->\n<!-- end -->", [result(machine=busy)], {"one": lambda found: "TABLE"})
    assert "; others were at work (load 4.2).*" in shown


def test_a_benchmark_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for one: write <!-- results: one --> and <!-- end -->"):
        report.filled("# Story", [result()], {"one": lambda found: "TABLE"})


def test_the_readme_holds_what_was_measured() -> None:
    text = report.README.read_text()
    tables = {name: module.table for name, module in BENCHMARKS.items()}
    assert report.filled(text, report.stored(RESULTS), tables) == text, "python -m benchmarks report"


def test_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", report.README.read_text()):
        assert (report.README.parent / target).exists(), target


def test_what_is_no_benchmark_or_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trainning"])
    assert "no benchmark is named trainning; there are training, evaluation, measurement" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--data", "/nowhere"])
    assert "--data '/nowhere' is no folder; expected train/<class>/*" in capsys.readouterr().err


def test_what_is_wrong_with_the_images_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match="^error: data folder '.*train' does not exist; put one folder of images a class there"
    ):
        main(["training", "--quick", "--data", str(tmp_path)])

"""Running a benchmark and storing its parts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.harness import benchmark as benchmark_module
from benchmarks.harness.benchmark import Benchmark, stored_measurements
from benchmarks.harness.results import read, write
from benchmarks.harness.settings import Settings, SkippedError
from tests.benchmarks.machines import MACHINE, result

TINY = Settings(scale="tiny", threads=1)


def two_parts(settings: Settings) -> Iterator[dict[str, Any]]:
    yield {"a": [1.5]}
    yield {"b": [2.0]}


def test_parts_are_merged_and_described() -> None:
    found = Benchmark("one", two_parts, lambda result: "").run(TINY)
    assert found.measured == {"a": [1.5], "b": [2.0]}
    assert (found.benchmark, found.scale, found.data) == ("one", "tiny", "random images")
    assert torch.__version__.startswith(found.versions["torch"])
    assert found.machine.best_gflops > 0


def test_a_benchmark_may_fix_the_number_of_threads() -> None:
    found = Benchmark("one", two_parts, lambda result: "", threads=1).run(replace(TINY, threads=2))
    assert found.machine.threads == 1
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("needs_gpu", [True, False])
def test_only_gpu_benchmarks_store_parts_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_gpu: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(benchmark_module, "RESULTS", tmp_path)
    monkeypatch.setattr(benchmark_module, "describe", lambda settings: MACHINE)

    def interrupted(settings: Settings) -> Iterator[dict[str, Any]]:
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Benchmark("one", interrupted, lambda result: "", needs_gpu=needs_gpu).run(Settings(threads=1))
    assert [read(path).measured for path in tmp_path.iterdir()] == ([{"a": 1}] if needs_gpu else [])


def test_running_some_cases_keeps_the_stored_results_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_module, "RESULTS", tmp_path)
    write(replace(result("scaling"), measured={"1x100": 1}), tmp_path)
    some = Settings(only=("2x100",))
    assert stored_measurements("scaling", some, MACHINE) == {"1x100": 1}
    assert stored_measurements("scaling", Settings(), MACHINE) == {}
    assert stored_measurements("scaling", replace(some, scale="quick"), MACHINE) == {}


def test_a_gpu_benchmark_is_skipped_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SkippedError, match="torch finds no GPU on this machine"):
        Benchmark("one", two_parts, lambda result: "", needs_gpu=True).run(TINY)

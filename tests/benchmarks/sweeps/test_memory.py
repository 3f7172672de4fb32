"""Benchmark of the memory of concurrent trials."""

from pathlib import Path

import pytest

from benchmarks.harness.machine import Machine
from benchmarks.harness.memory import ProcessMemory
from benchmarks.harness.results import Result
from benchmarks.sweeps import memory, memory_case
from benchmarks.sweeps.memory_case import MEASURED_RECORD, STAGES, MemoryCase, Sampler, total
from orchestrator.study.sweep import load_sweep

MACHINE = Machine("some", 2, 1, 24.0, "Linux", 0.1, {"512": 100.0})
MIB = 2**20


def case(*private: int) -> dict[str, object]:
    """Trials with this private memory, which share 300 MiB, in MiB."""
    trials = [(mib, 300 / len(private)) for mib in private]
    found = [
        {"resident": (mib + 300) * MIB, "private": mib * MIB, "proportional": (mib + part) * MIB}
        for mib, part in trials
    ]
    stages = [{**memory, "peak": memory["resident"] + 50 * MIB} for memory in found]
    return {"largest": found, "stages": dict.fromkeys(STAGES, stages)}


def test_shared_memory_counts_once_in_the_total() -> None:
    measured = {"steps": 25, "products": 2, "2": case(600, 700), "1": case(700)}
    result = Result("memory", "2026-11-30T10:00:00+00:00", None, "full", "random images", {}, MACHINE, measured)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in memory.table(result).splitlines()]
    assert rows[2:4] == [["1", "1,000", "1,000", "700", "300", "1,050"], ["2", "1,600", "800", "650", "300", "1,050"]]
    assert rows[7] == ["1", "torch imported", "1,050", "1,000", "700", "300"]
    assert rows[14] == ["2", "measuring", "1,000", "950", "650", "300"]


def test_the_usual_quantities_of_the_sweep_are_measured_at_the_last_record() -> None:
    trial = MemoryCase("", 1, "/images", steps=25, products=2).trial(seed=3)
    paper = load_sweep("paper").trials[0].measurement
    assert (trial.records, trial.steps, trial.seed) == (MEASURED_RECORD, 50, 3)
    assert trial.measurement.due(MEASURED_RECORD) == paper.due(1)
    assert trial.measurement.due(MEASURED_RECORD - 1) == ()
    assert trial.measurement.fraction == paper.fraction


def test_the_moment_of_the_largest_total_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = ProcessMemory(9, 2, 5), ProcessMemory(9, 4, 7)
    moments = iter([small, None, small, large, small, small])  # the second process starts late
    for pid in (1, 2):
        (tmp_path / f"{pid}.pid").write_text(str(pid))
    monkeypatch.setattr(memory_case, "process_memory", lambda pid: next(moments))
    sampler = Sampler(tmp_path)
    for _ in range(3):
        sampler.sample()
    assert sampler.largest == [small, large]
    assert total(sampler.largest) == 12

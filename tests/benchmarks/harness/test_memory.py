"""Peak memory of a process."""

import subprocess
import sys

import torch

from benchmarks.harness.memory import peak_resident_bytes, process_memory, reset_peak


def test_peak_grows_with_an_allocation() -> None:
    before = peak_resident_bytes()
    assert len(b"x" * (before + 2**20)) > before
    assert peak_resident_bytes() > before > 2**20


def test_the_peak_can_be_reset() -> None:
    torch.ones(64 * 2**18)
    before = peak_resident_bytes()
    reset_peak()
    assert before - peak_resident_bytes() > 32 * 2**20


def test_memory_of_this_process_only_is_private() -> None:
    before = process_memory()
    block = torch.ones(64 * 2**18)
    after = process_memory()
    assert before is not None
    assert after is not None
    assert abs(after.private - before.private - block.nbytes) < 2**20
    assert after.shared == after.resident - after.private > 0, "libraries of other processes"
    assert after.private < after.proportional < after.resident


def test_an_ended_process_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert peak_resident_bytes(process.pid) == 0
    assert process_memory(process.pid) is None

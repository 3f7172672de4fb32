"""Peak memory of a process."""

import subprocess
import sys

from benchmarks.harness.memory import peak_resident_bytes


def test_peak_grows_with_an_allocation() -> None:
    before = peak_resident_bytes()
    assert len(b"x" * (before + 2**20)) > before
    assert peak_resident_bytes() > before > 2**20


def test_an_ended_process_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert peak_resident_bytes(process.pid) == 0

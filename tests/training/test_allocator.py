"""Freed memory stays in the process between steps, which page faults show, and is returned on request."""

import ctypes
import os
import subprocess
import sys

import pytest

from orchestrator.training.allocator import WORKER_ENVIRONMENT

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has these settings")
MEBIBYTES = 40
"""Above 32 MiB, glibc's defaults return memory to the system whenever it is freed."""
STEPS = f"""
import resource, sys, threading
from orchestrator.training.allocator import keep_freed_memory, return_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    bytes([120]) * ({MEBIBYTES} * 2**20)

def steps():
    for _ in range(10):  # the heap grows during the first few steps
        step()
    before = faults()
    for _ in range(5):
        step()
    print(faults() - before)
    return_freed_memory()
    before = faults()
    step()
    print(faults() - before)

if sys.argv[1] == "keep":
    keep_freed_memory()
if sys.argv[1] == "thread":
    thread = threading.Thread(target=steps)
    thread.start()
    thread.join()
else:
    steps()
"""


def faults(how: str, environment: dict[str, str]) -> list[int]:
    """Returns the page faults of five further steps, and those of one step after memory was returned."""
    kept = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", STEPS, how]
    done = subprocess.run(command, env={**kept, **environment}, check=True, stdout=subprocess.PIPE, text=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize(
    ("how", "environment"), [("main", WORKER_ENVIRONMENT), ("thread", WORKER_ENVIRONMENT), ("keep", {})]
)
def test_freed_memory_is_kept_until_it_is_returned(how: str, environment: dict[str, str]) -> None:
    defaults, _ = faults("main", {})
    kept, returned = faults(how, environment)
    assert defaults > 5000
    assert kept < 500
    assert returned >= MEBIBYTES // 2  # one fault per page of at most 2 MiB

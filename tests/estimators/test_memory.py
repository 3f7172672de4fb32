"""Memory: products stay within their budget, and a thousand calls of an estimator leak nothing."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")

COMMON = """
import gc
import os
import torch
import torch._dynamo
from torch import nn
from estimators import *

torch.set_num_threads(1)
torch.manual_seed(0)
mse = nn.functional.mse_loss

def resident(key="VmRSS"):
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(key))
"""

# The baseline is the peak of the same products without kept graphs. Each operator has a process of its own, since the
# peak of a process never falls. They are forked, so that only one process imports torch.
WITHIN_BUDGET = """
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 10))
data = torch.randn(480, 3, 32, 32), torch.randint(10, (480,))

def peak(kind, budget):
    op = kind(model, nn.functional.cross_entropy, data, chunk_size=20, memory_budget=budget)
    vector = torch.ones(op.size)
    with op.keeping_graphs():
        for _ in range(2):
            op @ vector
        return resident("VmHWM"), op._graphs.memory.held

def check(kind):
    without, _ = peak(kind, 0)
    budget = 24 * 2**20
    within, held = peak(kind, budget)
    assert 0.8 * budget < held <= budget, held
    # The checks of the first pass need memory beside the kept graphs.
    assert 0.8 * budget < within - without < 1.2 * budget, (within - without) / budget

for kind in HessianOperator, GaussNewtonOperator:
    child = os.fork()
    if child == 0:
        check(kind)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, kind
"""

# A smooth network, for which hessian_trace takes probes. One leaked graph per call would be megabytes.
GROWTH = """
model = nn.Sequential(nn.Linear(3, 16, bias=False), nn.Tanh(), nn.Linear(16, 1, bias=False))
data = torch.randn(16, 3), torch.randn(16, 1)
op, gauss_newton = HessianOperator(model, mse, data), GaussNewtonOperator(model, mse, data)
calls = {
    "a new operator and lanczos": lambda generator: lanczos(HessianOperator(model, mse, data), 2, generator=generator),
    "power_iteration": lambda generator: power_iteration(gauss_newton, 1, generator),
    "hutchinson": lambda generator: hutchinson(op, 2, generator=generator),
    "sampled_trace": lambda generator: sampled_trace(model, mse, data, generator=generator),
    "hessian_trace, exact_trace in it": lambda generator: hessian_trace(op, 2, generator=generator),
}

def after(count, call):
    for seed in range(count):
        call(torch.Generator().manual_seed(seed))
    gc.collect()
    return resident()

for name, call in calls.items():
    before = after(50, call)
    growth = after(1000, call) - before
    assert growth < 2**20, f"{name} grew by {growth / 2**10:.0f} KiB in a thousand calls"
"""


def run(script: str) -> None:
    # Allocates every tensor on separate pages, so that the resident memory equals the memory of the tensors.
    # Fragmentation of glibc's heap would add 10% to 35% of the budget.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", COMMON + script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_memory_stays_within_the_budget() -> None:
    run(WITHIN_BUDGET)


# A faster test in problem/test_isolation.py checks that products leak no tensors.
@pytest.mark.slow
def test_a_thousand_calls_leak_nothing() -> None:
    run(GROWTH)

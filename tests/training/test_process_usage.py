"""CPU time and memory of this process."""

import threading
from pathlib import Path

import pytest
import torch

from orchestrator.training import process_usage
from orchestrator.training.process_usage import ProcessUsage


def test_cpu_usage_is_that_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(10.0, 3.0), (12.0, 4.0), (16.0, 10.0)])
    monkeypatch.setattr(process_usage, "_times", lambda: next(times))
    usage = ProcessUsage(torch.device("cpu"))
    taken = usage.take()
    assert (taken["system_cpu_percent"], taken["system_gpu_memory_mib"]) == (50.0, None)
    assert usage.take()["system_cpu_percent"] == 150.0, "two threads"


def test_cpu_time_includes_all_threads_of_this_process() -> None:
    _, before = process_usage._times()
    worker = threading.Thread(target=lambda: sum(range(3_000_000)))
    worker.start()
    worker.join()
    _, after = process_usage._times()
    assert after > before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="not Linux")
def test_resident_memory_includes_touched_pages() -> None:
    usage = ProcessUsage(torch.device("cpu"))
    before = usage.take()["system_memory_mib"]
    block = torch.ones(64 * 2**18)  # 64 MiB
    after = usage.take()["system_memory_mib"]
    assert before is not None
    assert after is not None
    assert block.numel() == 64 * 2**18
    assert 32 < after - before < 128


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_memory_is_the_peak_since_the_last_call() -> None:
    device = torch.device("cuda")
    usage = ProcessUsage(device)
    torch.cuda.empty_cache()
    block = torch.ones(64 * 2**18, device=device)
    del block
    torch.cuda.empty_cache()
    peak, later = usage.take()["system_gpu_memory_mib"], usage.take()["system_gpu_memory_mib"]
    assert peak is not None
    assert later is not None
    assert peak - later >= 64

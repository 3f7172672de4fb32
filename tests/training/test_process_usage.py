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


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not Linux")
def test_memory_is_the_peak_since_the_trial_began() -> None:
    usage = ProcessUsage(torch.device("cpu"))
    before = usage.take()["system_memory_mib"]
    torch.ones(64 * 2**18)  # 64 MiB, freed at once
    after = usage.take()["system_memory_mib"]
    again = ProcessUsage(torch.device("cpu")).take()["system_memory_mib"]
    assert before is not None
    assert after is not None
    assert again is not None
    assert 32 < after - before < 128
    assert 32 < after - again < 128, "a new trial in this process begins with its present memory"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not Linux")
def test_memory_is_that_of_the_moment_if_the_peak_cannot_be_reset(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process_usage, "_CLEAR", tmp_path / "none" / "clear_refs")
    torch.ones(64 * 2**18)
    usage = ProcessUsage(torch.device("cpu"))
    torch.ones(64 * 2**18)
    present, peak = usage.take()["system_memory_mib"], process_usage._memory_mib("VmHWM")
    assert present is not None
    assert peak is not None
    assert peak - present > 32


def test_unknown_memory_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(process_usage, "_STATUS", tmp_path / "none")
    assert ProcessUsage(torch.device("cpu")).take()["system_memory_mib"] is None


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

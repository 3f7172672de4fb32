"""Cores, memory and GPUs, and the check of a product."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orchestrator.training.devices import check_product, describe_gpu, gpus, memory_bytes, usable_cores


def test_usable_cores_respect_affinity_and_quota(tmp_path: Path) -> None:
    here = len(os.sched_getaffinity(0))
    quota = tmp_path / "cpu.max"
    assert usable_cores(quota) == here
    for content, expected in (
        ("max 100000", here),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("9900000 100000", here),
    ):
        quota.write_text(content)
        assert usable_cores(quota) == expected
    first = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {first})
    try:
        assert usable_cores(tmp_path / "none") == 1
    finally:
        os.sched_setaffinity(0, before)


def test_total_and_available_memory_are_read(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       100 kB\nMemFree:  3 kB\nMemAvailable:   40 kB\n")
    limit = tmp_path / "memory.max"
    assert memory_bytes(meminfo, limit) == (102400, 40960)
    limit.write_text("max\n")
    assert memory_bytes(meminfo, limit) == (102400, 40960)
    limit.write_text("30000\n")
    assert memory_bytes(meminfo, limit) == (30000, 30000)
    assert memory_bytes(tmp_path / "none") is None
    meminfo.write_text("MemTotal:       100 kB\n")
    assert memory_bytes(meminfo) is None


def test_the_processor_computes_correctly() -> None:
    check_product(torch.device("cpu"))


def test_a_wrong_product_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Tensor, other: Tensor) -> Tensor:
        return torch.zeros_like(self)

    monkeypatch.setattr(Tensor, "__matmul__", wrong)
    with pytest.raises(RuntimeError, match=r"a product of matrices of ones gives 0\.0, expected 64"):
        check_product(torch.device("cpu"))


def test_all_gpus_of_torch_are_listed() -> None:
    assert len(gpus()) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    for gpu in gpus():
        check_product(gpu)
        assert "GiB of memory" in describe_gpu(gpu)

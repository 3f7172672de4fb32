"""The processors, memory and GPUs that a trial can use, and a check that they compute correctly."""

import math
import os
from pathlib import Path

import torch
from torch import Tensor


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Returns the number of cores that this process may use, given its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup/memory.max")
) -> tuple[int, int] | None:
    """Returns total and available memory in bytes, at most the container's limit; None if they are not reported."""
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):
        return None
    try:
        limit = int(cgroup.read_text())
    except (OSError, ValueError):  # no container, or one without a limit
        return total, available
    return min(total, limit), min(available, limit)


def gpus() -> list[torch.device]:
    """Returns the GPUs that torch can use."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.device("cuda", number) for number in range(count)]


def describe_gpu(device: torch.device) -> str:
    """Returns the name and memory of a GPU in one line."""
    free, total = torch.cuda.mem_get_info(device)
    return f"{torch.cuda.get_device_name(device)}, {total / 2**30:.1f} GiB of memory, {free / 2**30:.1f} free"


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a CPU tensor to a device. The copy to a GPU is asynchronous, from pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def check_product(device: torch.device) -> None:
    """Multiplies two matrices with a known product.

    Raises:
        RuntimeError: if torch cannot compute on the device, or the product is wrong.
    """
    size = 64
    ones = torch.ones(size, size, device=device)
    found = (ones @ ones).cpu()
    if not torch.equal(found, torch.full((size, size), float(size))):
        raise RuntimeError(f"a product of matrices of ones gives {found[0, 0].item()}, expected {size}")

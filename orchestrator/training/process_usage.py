"""CPU time and memory of the process that trains. Reading them takes microseconds."""

import resource
import time
from pathlib import Path
from typing import Any

import torch

_STATM = Path("/proc/self/statm")
_MIB = 2**20


class ProcessUsage:
    """What this process uses between two records. Created at the beginning of the first record."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = _times()
        self._reset_peak()

    def take(self) -> dict[str, Any]:
        """Returns fields of `Record`: usage since the last call, or since the beginning. None: not known here."""
        began, self._began = self._began, _times()
        seconds, cpu_seconds = (now - then for now, then in zip(self._began, began, strict=True))
        gpu_memory = None
        if self._device.type == "cuda":
            gpu_memory = torch.cuda.max_memory_reserved(self._device) / _MIB
            self._reset_peak()
        return {
            "system_cpu_percent": 100.0 * cpu_seconds / seconds,
            "system_memory_mib": _resident_mib(),
            "system_gpu_memory_mib": gpu_memory,
        }

    def _reset_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)


def _times() -> tuple[float, float]:
    """Returns wall time and CPU time of all threads of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def _resident_mib() -> float | None:
    """Returns the resident memory of this process; None on systems other than Linux."""
    if not _STATM.exists():
        return None
    pages = int(_STATM.read_text().split()[1])
    return pages * resource.getpagesize() / _MIB

"""CPU time and memory of the process that trains. Reading them takes microseconds."""

import re
import time
from pathlib import Path
from typing import Any

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_MIB = 2**20


class ProcessUsage:
    """What this process uses between two records. Created at the beginning of the first record."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = _times()
        # The process may have run other trials, which used more. Without a reset, only the present memory is known.
        self._memory = "VmHWM" if _peak_is_reset() else "VmRSS"
        self._reset_peak()

    def take(self) -> dict[str, Any]:
        """Returns fields of `Record`: usage since the last call; memory since the beginning. None: not known here."""
        began, self._began = self._began, _times()
        seconds, cpu_seconds = (now - then for now, then in zip(self._began, began, strict=True))
        gpu_memory = None
        if self._device.type == "cuda":
            gpu_memory = torch.cuda.max_memory_reserved(self._device) / _MIB
            self._reset_peak()
        return {
            "system_cpu_percent": 100.0 * cpu_seconds / seconds,
            "system_memory_mib": _memory_mib(self._memory),
            "system_gpu_memory_mib": gpu_memory,
        }

    def _reset_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)


def _times() -> tuple[float, float]:
    """Returns wall time and CPU time of all threads of this process, in seconds."""
    return time.perf_counter(), time.process_time()


def _peak_is_reset() -> bool:
    """Sets the peak of this process's resident memory to its present value. Returns whether the system supports it."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _memory_mib(field: str) -> float | None:
    """Returns the resident memory (VmRSS) of this process or its peak (VmHWM); None if the system reports none."""
    try:
        found = re.search(rf"^{field}:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None

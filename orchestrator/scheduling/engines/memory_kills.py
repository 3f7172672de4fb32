"""Counts the processes that the kernel killed because the machine, or the container, ran out of memory."""

import re
from pathlib import Path

_COUNTERS = ("/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


def memory_kills(counters: tuple[str, ...] = _COUNTERS) -> int:
    """Returns the number of processes killed for memory so far; 0 if the kernel does not report it."""
    total = 0
    for name in counters:
        try:
            text = Path(name).read_text()
        except OSError:
            continue
        total += sum(int(count) for count in re.findall(r"^oom_kill (\d+)$", text, re.MULTILINE))
    return total

"""Memory of a process, as Linux counts it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessMemory:
    """Resident memory of a process at a moment, in bytes."""

    resident: int
    private: int
    """The part that no other process maps."""
    proportional: int
    """The private part, and of each shared page its share: the page divided by the number of processes that map it."""

    @property
    def shared(self) -> int:
        """The part that other processes map too."""
        return self.resident - self.private


def process_memory(pid: int | None = None) -> ProcessMemory | None:
    """Returns the memory of a process, by default this one; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid or 'self'}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return None
    found = {name: 1024 * int(size.split()[0]) for name, size in (line.split(":") for line in lines)}
    return ProcessMemory(found["Rss"], found["Private_Clean"] + found["Private_Dirty"], found["Pss"])


def peak_resident_bytes(pid: int | None = None) -> int:
    """Peak resident memory of a process, by default this one; 0 if it has just ended.

    `getrusage` and `wait4` would report the peak of the parent at the fork if that is larger.
    """
    try:
        lines = Path(f"/proc/{pid or 'self'}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def reset_peak() -> None:
    """Sets the peak resident memory of this process to its present one."""
    Path("/proc/self/clear_refs").write_text("5")

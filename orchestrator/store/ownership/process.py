"""Which process this is, and whether another one still lives: known on the same host only."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process, so that neither a recycled pid nor a container of the same host name is taken for it."""

    host: str
    pid: int
    started: str
    kernel: str
    """Where `pid` means that process: machines and containers may share a host name."""

    @classmethod
    def this(cls) -> "Process":
        """The one that asks."""
        return cls(socket.gethostname(), os.getpid(), _started(os.getpid()), _kernel())

    @property
    def alive(self) -> bool | None:
        """Whether it lives; None where that cannot be known from here."""
        if (self.host, self.kernel) != (socket.gethostname(), _kernel()):
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _kernel() -> str:
    """The boot of this machine and the pid namespace of this process; empty where there is no /proc."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process of this host began; empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _started_without_proc(pid)
    return "" if fields[0] == "Z" else fields[19]


def _started_without_proc(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"

"""The identity of a process, and a check whether it is alive, which works only on the host of the process."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """The identity of a process. It is unique even if a pid is reused, or if two containers share a host name."""

    host: str
    pid: int
    started: str
    kernel: str
    """The boot and the pid namespace in which `pid` is valid. Several machines or containers may share a host name."""

    @classmethod
    def this(cls) -> "Process":
        """The calling process."""
        return cls(socket.gethostname(), os.getpid(), _start_time(os.getpid()), _kernel())

    @property
    def alive(self) -> bool | None:
        """Whether the process is alive; None if it belongs to another host or container, so that this is unknown."""
        if (self.host, self.kernel) != (socket.gethostname(), _kernel()):
            return None
        return _start_time(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _kernel() -> str:
    """Identifies the boot of this machine and the pid namespace of this process; empty without /proc."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """The start time of a process of this host, as the kernel reports it; empty if it is dead or a zombie."""
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

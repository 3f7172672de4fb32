"""Finds the processes of a storm in /proc: descendants of its driver, and processes that name its storage."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process. Its start time distinguishes it from a later process with the same pid."""

    pid: int
    parent: int
    started: str
    command: str

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal. Returns False if the process has ended."""
        if read(self.pid) != self:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


def read(pid: int) -> Process | None:
    """Returns a process; None if it has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else Process(pid, int(fields[1]), fields[19], command)


def everything() -> list[Process]:
    """Returns all processes of this machine."""
    return [found for name in os.listdir("/proc") if name.isdigit() and (found := read(int(name)))]


def descendants(pid: int) -> list[Process]:
    """Returns all descendants of a process."""
    processes = everything()
    family = {pid}
    while more := {each.pid for each in processes if each.parent in family} - family:
        family |= more
    return [each for each in processes if each.pid in family and each.pid != pid]


def of_role(role: str, driver: int | None, storage: Path) -> list[Process]:
    """Returns the storm's processes of a role: ``driver``, ``worker``, ``raylet`` or ``shipper``."""
    if role == "shipper":
        return [each for each in everything() if f"--storage {storage} --follow" in each.command]
    found = read(driver) if driver else None
    if driver is None or found is None:
        return []
    if role == "driver":
        return [found]
    return [each for each in descendants(driver) if _is(role, each.command)]


def _is(role: str, command: str) -> bool:
    if role == "raylet":
        return "raylet/raylet " in command
    # Ray's agents have similar names, but they belong to the raylet, which ends if they do.
    return command.startswith("ray::ImplicitFunc") or "spawn_main" in command


def end_all(storage: Path, family: list[Process]) -> None:
    """Kills the remaining processes of the storm, and all processes that name its storage."""
    for each in [*family, *(each for each in everything() if str(storage) in each.command)]:
        if each.pid != os.getpid():
            each.send(signal.SIGKILL)
    time.sleep(0.2)

"""One driver a sweep, one shipper a sweep: who holds it, and when a dead holder's hold ends.

A lease is a numbered file that is created exclusively, so of two that reach for it one gets it. Its holder renews it;
it is free once released, at once when its holder on this host is dead, and after 60 s of silence elsewhere.
"""

import json
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.store.files import Files

EXPIRY_SECONDS = 60.0
RENEWAL_SECONDS = 15.0


class LeaseHeldError(RuntimeError):
    """Somebody else is at work; the message says who."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

    host: str
    pid: int
    process_started: str
    token: str
    since: float
    renewed: float
    released: bool = False
    kernel: str = ""
    """Where `pid` means that process: machines and containers may share a host name."""

    @property
    def alive(self) -> bool:
        """Whether the lease still binds: a process of this host is asked for, another host's is waited for."""
        if self.released:
            return False
        if (self.host, self.kernel) == (socket.gethostname(), _kernel()):
            return _process_started(self.pid) == self.process_started
        return time.time() - self.renewed < EXPIRY_SECONDS

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.since))}"


class Lease:
    """The right to do `purpose` in `folder`, as a context manager.

    Raises:
        LeaseHeldError: on entering, where a living process holds it.
    """

    def __init__(self, files: Files, folder: str, purpose: str) -> None:
        self._files = files
        self._folder = f"{folder}/{purpose}-lease"
        self._purpose = purpose
        now = time.time()
        started, token = _process_started(os.getpid()), secrets.token_hex(8)
        self._holder = Holder(socket.gethostname(), os.getpid(), started, token, now, now, kernel=_kernel())
        self._number = 0
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"{purpose} lease", daemon=True)

    def holder(self) -> Holder | None:
        """Who holds the lease now, if anyone living does."""
        _, holder = self._newest()
        return holder if holder and holder.alive else None

    def __enter__(self) -> Self:
        number, holder = self._newest()
        if holder and holder.alive:
            raise LeaseHeldError(f"{self._folder.split('/')[1]}: another {self._purpose} is at work: {holder}")
        self._number = number + 1
        if not self._files.create(self._name(self._number), self._content()):
            raise self._overtaken()
        names = self._files.list(self._folder)
        if int(names[-1].removesuffix(".json")) > self._number:
            # Whoever came first has come and gone since we looked, and somebody else is here.
            self._files.delete(self._name(self._number))
            raise self._overtaken()
        for name in names:
            if int(name.removesuffix(".json")) < self._number:
                self._files.delete(f"{self._folder}/{name}")
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._renewer.join()
        self._holder = replace(self._holder, released=True)
        self._files.write(self._name(self._number), self._content())

    def _renew(self) -> None:
        while not self._done.wait(RENEWAL_SECONDS):
            self._holder = replace(self._holder, renewed=time.time())
            try:
                self._files.write(self._name(self._number), self._content())
            except OSError:  # a storage hiccup: the next renewal comes long before the lease expires
                continue

    def _newest(self) -> tuple[int, Holder | None]:
        while names := self._files.list(self._folder):
            content = self._files.read(f"{self._folder}/{names[-1]}")
            if content is not None:  # None: replaced by a newer one since it was listed
                return int(names[-1].removesuffix(".json")), Holder(**json.loads(content))
        return 0, None

    def _overtaken(self) -> LeaseHeldError:
        return LeaseHeldError(f"{self._folder.split('/')[1]}: another {self._purpose} began at the same moment")

    def _name(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder)).encode()


def _kernel() -> str:
    """The boot of this machine and the pid namespace of this process; empty where there is no /proc."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process_started(pid: int) -> str:
    """When a process of this host began, so that a recycled pid is not taken for it; empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return _process_started_without_proc(pid)
    return "" if fields[0] == "Z" else fields[19]


def _process_started_without_proc(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"

"""Leases: at most one process drives a sweep, and at most one ships it.

A lease is a numbered file that is created exclusively, so that of two processes one gets it. Its holder renews it.
It is free once released, as soon as its holder on this host is dead, or after 60 s without renewal if the holder is on
another host. The time since the last renewal is measured by the clock of the storage, so that hosts with different
clocks agree.

A holder that did not renew for 60 s (a cut network, a suspended machine) finds a newer number when it tries to renew:
its lease is lost, and it must stop.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Self

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.numbered_files import NumberedFiles
from orchestrator.store.ownership.process import Process

EXPIRY_SECONDS = 60.0
RENEWAL_SECONDS = 15.0


class LeaseHeldError(RuntimeError):
    """Another process holds the lease; the message names it."""


class LeaseLostError(RuntimeError):
    """Another process has taken the lease over because this one did not renew it; the message names it."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lease, as stored in its file."""

    host: str
    pid: int
    process_started: str
    token: str
    since: float
    """Unix time in seconds, by the holder's clock, as `renewed`."""
    renewed: float
    released: bool = False
    kernel: str = ""

    @property
    def process(self) -> Process:
        """The process that holds the lease."""
        return Process(self.host, self.pid, self.process_started, self.kernel)

    def __str__(self) -> str:
        return f"{self.process}, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.since))}"


class Lease:
    """The exclusive right to do `purpose` in `folder`, as a context manager.

    Args:
        files: the storage.
        folder: the folder of the sweep.
        purpose: what the holder does.
        on_lost: called once, from a thread, when another process has taken the lease over.

    Raises:
        LeaseHeldError: on entering, if a living process holds the lease.
        LeaseLostError: on leaving, if another process has taken the lease over and no other error is raised.
    """

    def __init__(
        self, files: FileSystem, folder: str, purpose: str, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._files = files
        self._leases = NumberedFiles(files, f"{folder}/{purpose}-lease", digits=6)
        self._purpose = purpose
        self._on_lost = on_lost
        self._sweep = folder.split("/")[1]
        now, here = time.time(), Process.this()
        self._holder = Holder(here.host, here.pid, here.started, secrets.token_hex(8), now, now, kernel=here.kernel)
        self.number = 0
        """The number of this lease once it is held: a fencing token, higher than that of all leases before it."""
        self.lost = False
        """Whether another process has taken this lease over."""
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"{purpose} lease", daemon=True)

    def holder(self) -> Holder | None:
        """The current holder of the lease; None if it is free."""
        number, holder = self._newest()
        return holder if holder and self._binds(number, holder) else None

    def is_held(self, number: int) -> bool:
        """Whether the lease of this number is the newest, and held."""
        newest, holder = self._newest()
        return newest == number and holder is not None and self._binds(number, holder)

    def newest_number(self) -> int:
        """The number of the newest lease, held or not; 0 if there is none."""
        return self._leases.newest()

    @property
    def token(self) -> str:
        """A random text that identifies this lease."""
        return self._holder.token

    def newest_token(self) -> tuple[int, str]:
        """Number and token of the newest lease: 0 if there is none, an empty token if its file is damaged."""
        number, holder = self._newest()
        return number, holder.token if holder else ""

    def __enter__(self) -> Self:
        number, holder = self._newest()
        if holder is None and number and not self._is_silent(number):
            raise LeaseHeldError(
                f"{self._sweep}: the lease of its {self._purpose}, {self._leases.path(number)}, is damaged and was "
                f"written less than {EXPIRY_SECONDS:.0f} s ago, so its holder may be at work; wait a minute, or delete "
                "the file"
            )
        if holder and self._binds(number, holder):
            raise LeaseHeldError(f"{self._sweep}: another {self._purpose} is at work: {holder}")
        self.number = number + 1
        if not self._leases.create(self.number, self._content()):
            raise self._overtaken()
        *older, newest = self._leases.numbers()
        if newest > self.number:
            # Since we looked, one process has taken and released this number, and another holds a newer one.
            self._leases.delete(self.number)
            raise self._overtaken()
        for each in older:
            self._leases.delete(each)
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._renewer.join()
        # A full disk must not hide the error of the block. An unreleased lease is free once its holder is dead.
        with contextlib.suppress(OSError):
            self._write(replace(self._holder, released=True))
        if self.lost and (error is None or isinstance(error, KeyboardInterrupt)):
            raise self._loss()

    def _renew(self) -> None:
        while not self._done.wait(RENEWAL_SECONDS):
            # After a storage error the next renewal still comes long before the lease expires.
            with contextlib.suppress(OSError):
                self._write(replace(self._holder, renewed=time.time()))
            if self.lost:
                self._on_lost()
                return

    def _write(self, holder: Holder) -> None:
        """Rewrites the file of the lease, unless another process has taken it over."""
        self.lost = self.lost or self.newest_number() > self.number
        if not self.lost:
            self._holder = holder
            self._leases.write(self.number, self._content())

    def _loss(self) -> LeaseLostError:
        holder: Holder | None = None
        with contextlib.suppress(OSError):
            _, holder = self._newest()
        return LeaseLostError(
            f"{self._sweep}: another {self._purpose} has taken over: {holder or 'unknown'}; this one did not renew "
            f"the lease for {EXPIRY_SECONDS:.0f} s and stops. Nothing is lost"
        )

    def _binds(self, number: int, holder: Holder) -> bool:
        """Whether a lease is held: by a living process of this host, or by one of another host that renews it."""
        if holder.released:
            return False
        alive = holder.process.alive
        return not self._is_silent(number) if alive is None else alive

    def _is_silent(self, number: int) -> bool:
        age = self._files.age(self._leases.name(number))
        return age is None or age >= EXPIRY_SECONDS

    def _newest(self) -> tuple[int, Holder | None]:
        """The newest lease, 0 if there is none; and its holder, None if its file is damaged."""
        while number := self.newest_number():
            content = self._leases.read(number)
            if content is None:  # replaced by a newer one since it was listed
                continue
            try:
                return number, Holder(**json.loads(content))
            except (ValueError, TypeError):
                return number, None
        return 0, None

    def _overtaken(self) -> LeaseHeldError:
        return LeaseHeldError(f"{self._sweep}: another {self._purpose} began at the same moment")

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder)).encode()

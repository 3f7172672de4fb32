"""Leases ensure that at most one process drives a sweep, and that at most one ships it to the tracker.

A lease is a numbered file. It is created exclusively, so only one of several processes gets it. The holder renews it.
A lease is free after its holder has released it. It is also free if the holder ran on this host and is dead, or if the
holder runs on another host and has not renewed the lease for 60 s. The clock of the storage measures the time since
the last renewal, so the clocks of the hosts may differ.

If a holder cannot renew its lease for 60 s (network failure, suspended machine), another process may take over. The
first holder then finds a newer number when it tries to renew. Its lease is lost, and it must stop.
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
from orchestrator.store.files.numbered_files import NumberedFiles
from orchestrator.store.ownership.process import Process

EXPIRY_SECONDS = 60.0
RENEWAL_SECONDS = 15.0


class LeaseHeldError(RuntimeError):
    """Another process holds the lease; the message names the process."""


class LeaseLostError(RuntimeError):
    """Another process has taken over the lease because this one did not renew it; the message names the process."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lease, as stored in its file."""

    host: str
    pid: int
    process_started: str
    token: str
    since: float
    """When the lease was taken. This and `renewed` are Unix times in seconds by the holder's clock."""
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
    """A context manager that holds the lease of a sweep for one purpose.

    Args:
        files: the storage.
        folder: the folder of the sweep.
        purpose: ``driver`` for the process that schedules the sweep, ``ship`` for its shipper.
        on_lost: called once, from a thread, when another process has taken over the lease.

    Raises:
        LeaseHeldError: on entering, if a living process holds the lease.
        LeaseLostError: on leaving, if another process has taken over the lease and no other error is raised.
    """

    def __init__(
        self, files: FileSystem, folder: str, purpose: str, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._files = files
        self._leases = NumberedFiles(files, f"{folder}/{purpose}-lease", digits=6)
        self._role = "shipper" if purpose == "ship" else purpose
        self._on_lost = on_lost
        self._sweep = folder.split("/")[1]
        now, here = time.time(), Process.this()
        self._holder = Holder(here.host, here.pid, here.started, secrets.token_hex(8), now, now, kernel=here.kernel)
        self.number = 0
        """Fencing token: the number of this lease, higher than all earlier numbers; 0 before the lease is held."""
        self.lost = False
        """Whether another process has taken over this lease."""
        self._withdrawn = False
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"{purpose} lease", daemon=True)

    def holder(self) -> Holder | None:
        """The current holder of the lease; None if it is free."""
        number, holder = self._newest()
        return holder if holder and self._is_valid(number, holder) else None

    def is_held(self, number: int) -> bool:
        """Whether the lease with this number is the newest and is held now."""
        newest, holder = self._newest()
        return newest == number and holder is not None and self._is_valid(number, holder)

    def newest_number(self) -> int:
        """The number of the newest lease, held or not; 0 if there is none."""
        return self._leases.newest()

    @property
    def token(self) -> str:
        """A random string that identifies this lease."""
        return self._holder.token

    def newest_token(self) -> tuple[int, str]:
        """The number of the newest lease, or 0, and its token, which is empty if there is none or it is damaged."""
        number, holder = self._newest()
        return number, holder.token if holder else ""

    def withdraw(self) -> None:
        """Deletes this lease on exit instead of releasing it. Call it only if no other process knows its number.

        Only the first lease is deleted. After the deletion of another one, the next lease would have the same number.
        """
        self._withdrawn = self.number == 1

    def __enter__(self) -> Self:
        number, holder = self._newest()
        if holder is None and number and not self._is_expired(number):
            raise LeaseHeldError(
                f"{self._sweep}: the lease of its {self._role}, {self._leases.path(number)}, is damaged and was "
                f"written less than {EXPIRY_SECONDS:.0f} s ago, so its holder may be running; wait a minute, or delete "
                "the file"
            )
        if holder and self._is_valid(number, holder):
            raise LeaseHeldError(f"{self._sweep}: another {self._role} is running: {holder}")
        self.number = number + 1
        if not self._leases.create(self.number, self._content()):
            raise self._overtaken_error()
        *older, newest = self._leases.numbers()
        if newest > self.number:
            # Since the check above, two other processes took leases: one with this number, and a newer one, whose
            # process deleted the file of this number. So it could be created again.
            self._leases.delete(self.number)
            raise self._overtaken_error()
        for each in older:
            self._leases.delete(each)
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._renewer.join()
        # A storage error must not hide an error raised in the with block. The lease becomes free without a release
        # after this process has ended.
        with contextlib.suppress(OSError):
            self._write(replace(self._holder, released=True))
            if self._withdrawn:
                self._leases.delete(self.number)
        if self.lost and (error is None or isinstance(error, KeyboardInterrupt)):
            raise self._lost_error()

    def _renew(self) -> None:
        while not self._done.wait(RENEWAL_SECONDS):
            # A storage error is ignored, because the next renewal comes long before the lease expires.
            with contextlib.suppress(OSError):
                self._write(replace(self._holder, renewed=time.time()))
            if self.lost:
                self._on_lost()
                return

    def _write(self, holder: Holder) -> None:
        """Rewrites the file of the lease, unless another process has taken over the lease."""
        self.lost = self.lost or self.newest_number() > self.number
        if not self.lost:
            self._holder = holder
            self._leases.write(self.number, self._content())

    def _lost_error(self) -> LeaseLostError:
        holder: Holder | None = None
        with contextlib.suppress(OSError):
            _, holder = self._newest()
        return LeaseLostError(
            f"{self._sweep}: another {self._role} has taken over: {holder or 'unknown'}; this one did not renew "
            f"the lease for {EXPIRY_SECONDS:.0f} s and stops. Nothing is lost"
        )

    def _is_valid(self, number: int, holder: Holder) -> bool:
        """Whether a lease is held by a living process of this host, or by another host that still renews it."""
        if holder.released:
            return False
        alive = holder.process.alive
        return not self._is_expired(number) if alive is None else alive

    def _is_expired(self, number: int) -> bool:
        age = self._files.age(self._leases.name(number))
        return age is None or age >= EXPIRY_SECONDS

    def _newest(self) -> tuple[int, Holder | None]:
        """The number of the newest lease (0 if there is none), and its holder (None if the file is damaged)."""
        while number := self.newest_number():
            content = self._leases.read(number)
            if content is None:  # replaced by a newer lease after the listing
                continue
            try:
                return number, Holder(**json.loads(content))
            except (ValueError, TypeError):
                return number, None
        return 0, None

    def _overtaken_error(self) -> LeaseHeldError:
        return LeaseHeldError(f"{self._sweep}: another {self._role} began at the same moment")

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder)).encode()

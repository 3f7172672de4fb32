"""One driver a sweep, one shipper a sweep: who holds it, and when a dead holder's hold ends.

A lease is a numbered file that is created exclusively, so of two that reach for it one gets it. Its holder renews it;
it is free once released, at once when its holder on this host is dead, and after 60 s of silence elsewhere. Silence is
measured by the storage's own clock, between the lease's last renewal and now: hosts whose clocks differ agree on it.

A holder that was silent for so long (a cut network, a suspended machine) finds a newer number when it renews: its lease
is lost, and it has to stop.
"""

import contextlib
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Self

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.ownership.process import Process

EXPIRY_SECONDS = 60.0
RENEWAL_SECONDS = 15.0


class LeaseHeldError(RuntimeError):
    """Somebody else is at work; the message says who."""


class LeaseLostError(RuntimeError):
    """Somebody else has taken the lease over while this process was not heard of; the message says who."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease."""

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
        """The process that holds it."""
        return Process(self.host, self.pid, self.process_started, self.kernel)

    def __str__(self) -> str:
        return f"{self.process}, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.since))}"


class Lease:
    """The right to do `purpose` in `folder`, as a context manager.

    Args:
        files: where it is kept.
        folder: what it is for.
        purpose: what is done.
        on_lost: called once, from a thread, where another process has taken the lease over.

    Raises:
        LeaseHeldError: on entering, where a living process holds it.
        LeaseLostError: on leaving, where another process has taken it over; no other error is replaced by it.
    """

    def __init__(
        self, files: FileSystem, folder: str, purpose: str, on_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._files = files
        self._folder = f"{folder}/{purpose}-lease"
        self._purpose = purpose
        self._on_lost = on_lost
        self._sweep = folder.split("/")[1]
        now, here = time.time(), Process.this()
        self._holder = Holder(here.host, here.pid, here.started, secrets.token_hex(8), now, now, kernel=here.kernel)
        self.number = 0
        """Its own, once it is held. Every lease of the folder has a higher one than those before it."""
        self._lost_to: int | None = None
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"{purpose} lease", daemon=True)

    def holder(self) -> Holder | None:
        """Who holds the lease now, if anyone living does."""
        number, holder = self._newest()
        return holder if holder and self._binds(number, holder) else None

    def living_number(self) -> int | None:
        """The number under which the lease is held now, if anyone living does."""
        number, holder = self._newest()
        return number if holder and self._binds(number, holder) else None

    def newest_number(self) -> int:
        """The number of the last one that was taken, held or not; 0 where none ever was."""
        return max(self._numbers(), default=0)

    @property
    def token(self) -> str:
        """Its own: random, and written with it."""
        return self._holder.token

    def newest_token(self) -> tuple[int, str]:
        """Number and token of the last one that was taken; 0 where none ever was, no token where it is damaged."""
        number, holder = self._newest()
        return number, holder.token if holder else ""

    @property
    def lost(self) -> bool:
        """Whether another process has taken over what this one held."""
        return self._lost_to is not None

    def __enter__(self) -> Self:
        number, holder = self._newest()
        if holder is None and number and not self._silent(number):
            raise LeaseHeldError(
                f"{self._sweep}: the lease of its {self._purpose}, {self._files.root / self._name(number)}, is damaged "
                f"and was written within {EXPIRY_SECONDS:.0f} s: somebody may be at work; wait a minute, or delete it"
            )
        if holder and self._binds(number, holder):
            raise LeaseHeldError(f"{self._sweep}: another {self._purpose} is at work: {holder}")
        self.number = number + 1
        if not self._files.create(self._name(self.number), self._content()):
            raise self._overtaken()
        numbers = self._numbers()
        if numbers[-1] > self.number:
            # Whoever came first has come and gone since we looked, and somebody else is here.
            self._files.delete(self._name(self.number))
            raise self._overtaken()
        for older in numbers[:-1]:
            self._files.delete(self._name(older))
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._renewer.join()
        # A full disk must not hide why the block ended; unreleased, the lease is free once its holder is dead.
        with contextlib.suppress(OSError):
            if not self._taken_over():
                self._holder = replace(self._holder, released=True)
                self._files.write(self._name(self.number), self._content())
        if self.lost and (error is None or isinstance(error, KeyboardInterrupt)):
            raise self._loss()

    def _renew(self) -> None:
        while not self._done.wait(RENEWAL_SECONDS):
            try:
                if self._taken_over():
                    self._on_lost()
                    return
                self._holder = replace(self._holder, renewed=time.time())
                self._files.write(self._name(self.number), self._content())
            except OSError:  # a storage hiccup: the next renewal comes long before the lease expires
                continue

    def _taken_over(self) -> bool:
        if self._lost_to is None and (newest := self.newest_number()) > self.number:
            self._lost_to = newest
        return self.lost

    def _loss(self) -> LeaseLostError:
        holder: Holder | None = None
        with contextlib.suppress(OSError):
            _, holder = self._newest()
        return LeaseLostError(
            f"{self._sweep}: another {self._purpose} has taken over: {holder or 'unknown'}; this one was not heard of "
            f"for {EXPIRY_SECONDS:.0f} s, and stops. Nothing is lost; hessian-dynamics status {self._sweep} shows it"
        )

    def _binds(self, number: int, holder: Holder) -> bool:
        """Whether a lease still holds: a process of this host is asked for, another host's is waited for."""
        if holder.released:
            return False
        alive = holder.process.alive
        return not self._silent(number) if alive is None else alive

    def _silent(self, number: int) -> bool:
        age = self._files.age(self._name(number))
        return age is None or age >= EXPIRY_SECONDS

    def _newest(self) -> tuple[int, Holder | None]:
        """The last lease that was taken; None for a holder whose file is damaged."""
        while number := self.newest_number():
            content = self._files.read(self._name(number))
            if content is None:  # replaced by a newer one since it was listed
                continue
            try:
                return number, Holder(**json.loads(content))
            except (ValueError, TypeError):
                return number, None
        return 0, None

    def _numbers(self) -> list[int]:
        found = (re.fullmatch(r"([0-9]{6,})\.json", name) for name in self._files.list(self._folder))
        return sorted(int(match[1]) for match in found if match)

    def _overtaken(self) -> LeaseHeldError:
        return LeaseHeldError(f"{self._sweep}: another {self._purpose} began at the same moment")

    def _name(self, number: int) -> str:
        return f"{self._folder}/{number:06d}.json"

    def _content(self) -> bytes:
        return json.dumps(asdict(self._holder)).encode()

"""The shipper: tails the store into MLflow, in a process of its own. The store is the truth, MLflow the window.

Whatever the tracker does, nothing is raised and no epoch is lost: what it did not take is shipped when it is back, and
what it never took is shipped by the command that the last line names.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.lease import Holder, LeaseHeldError, LeaseLostError
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus, SweepStore
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.changes import Watch
from orchestrator.tracking.client import connect, lost, reason, refused, require_mlflow, unanswered
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.outage import Outage
from orchestrator.tracking.rate_limit import seconds_to_wait
from orchestrator.tracking.sync import Mirror, TrackerLostRunsError

POLL_SECONDS = 0.7
PATIENCE_SECONDS = 60.0
"""How long a follower goes on trying once the driver has ended and the tracker fails."""
ONE_SHOT_PATIENCE_SECONDS = 5.0
"""How long `ship` without ``--follow`` goes on trying: a person waits for it."""
LINGER_SECONDS = 3.0
"""Workers of a driver that was killed commit for about two seconds more."""
DOUBT_SECONDS = 35.0
"""A slow server may still carry out what it never answered: so long after that, its runs are looked at again."""
_STATUS_SECONDS = 1.0


@dataclass(frozen=True)
class ShippingResult:
    """What a shipper did, and what it left."""

    shipped_epochs: int
    """Epochs sent by this shipper."""
    pending_epochs: int
    """Committed epochs that the tracker does not have."""
    runs: int
    """The sweep's run and one for each trial; 0 where the tracker was never reached."""
    complete: bool
    """Whether the tracker has all that is committed, files and statuses too."""
    shipped_measurements: int = 0
    """Checkpoints that were measured again, sent by this shipper."""
    pending_measurements: int = 0
    """Those that the tracker does not have."""


def ship(storage: Storage, sweep: str, tracking_uri: str, follow: bool, say: Callable[[str], None]) -> ShippingResult:
    """Shows what is stored of a sweep in MLflow. Shipping twice changes nothing.

    Args:
        storage: where the sweep is stored.
        sweep: its name.
        tracking_uri: where MLflow tracks.
        follow: go on while the sweep's driver is at work, until all it computed is shipped.
        say: told, in one line each, what a person should know. Credentials are struck out.

    Raises:
        ValueError: where MLflow cannot track at this URI.
        StorageError: where the storage has no such sweep.
        ModuleNotFoundError: where MLflow is not installed.
    """
    uri = absolute_uri(tracking_uri)
    store = storage.sweep(sweep)
    store.read_manifest()
    watch = Watch(storage, sweep)
    require_mlflow()
    with _turn(store, say):
        return _Shipper(storage, store, watch, uri, follow, say).run()


@contextlib.contextmanager
def _turn(store: SweepStore, say: Callable[[str], None]) -> Iterator[None]:
    """The right to ship, once no other shipper has it."""
    waiting = False
    while True:
        lease = store.ship_lease
        try:
            lease.__enter__()
            break
        except LeaseHeldError as error:
            if not waiting:
                say(f"{error}; waiting for it to end")
            waiting = True
        time.sleep(POLL_SECONDS)
    # The shipper finds its successor itself, and says so.
    with contextlib.suppress(LeaseLostError), contextlib.ExitStack() as stack:
        stack.push(lease)
        yield


class _Shipper:
    def __init__(
        self, storage: Storage, store: SweepStore, watch: Watch, uri: str, follow: bool, say: Callable[[str], None]
    ) -> None:
        self._storage = storage
        self._store = store
        self._watch = watch
        self._uri = uri
        self._tracker = redacted(uri)
        self._follow = follow
        self._say = say
        self._outage = Outage(say, POLL_SECONDS)
        self._mine = store.ship_lease.holder()
        self._mirror: Mirror | None = None
        self._known: dict[str, int] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._runs = 0
        self._shipped = 0
        self._measured = 0
        self._before = (0, 0)
        self._told: set[str] = set()
        self._doubt: float | None = None
        self._look_seconds = 0.0
        self._status: ShipperStatus | None = None
        self._status_at = 0.0
        self._patience = PATIENCE_SECONDS if follow else ONE_SHOT_PATIENCE_SECONDS
        self._driver: Holder | None = None

    def run(self) -> ShippingResult:
        """Round by round, until there is nothing left to wait for."""
        alone: float | None = None  # since when nobody adds to the store
        failing: float | None = None
        while True:
            failure = self._failure()
            if successor := self._successor():
                return self._overtaken(successor)
            now = time.monotonic()
            alone = None if self._follow and self._driver else alone or now
            failing = None if failure is None else failing or now
            if failure is None and self._doubt is not None and now > self._doubt:
                self._forget_mirror()
                self._doubt = None
                continue
            if alone is not None:
                if failure is None and self._doubt is None and not self._lingers(now - alone):
                    assert self._mirror is not None, "a round without failure has a mirror"
                    if not self._mirror.made_runs:
                        return self._done()
                    self._forget_mirror()  # a request to make a run may have been carried out twice
                    continue
                if failure is None and self._doubt is not None:
                    self._say_once(
                        f"looking again in {DOUBT_SECONDS:.0f} s: a slow tracker may yet do what it did not answer"
                    )
                if failure is not None and now - max(alone, failing or now) > self._patience:
                    return self._left_undone(failure)
            idle = max(POLL_SECONDS, self._look_seconds)
            time.sleep(idle if failure is None else max(self._outage.pause, seconds_to_wait()))

    def _failure(self) -> str | None:
        """One round; what kept it from its end, if anything did."""
        # Whether a driver is at work is asked before the store is read, so nothing it did comes after the last round.
        try:
            self._driver = self._store.driver_lease.holder()
            self._round()
        except Exception as error:  # tracking cannot stop training, nor a bad minute of the tracker end the shipping
            if unanswered(error, self._uri):
                self._doubt = time.monotonic() + DOUBT_SECONDS
            failure = self._sentence(error)
            self._away(failure)
            return failure
        return None

    def _sentence(self, error: Exception) -> str:
        """What failed and why; a full disk is not the tracker's fault."""
        file = str(getattr(error, "filename", "") or "")
        why = reason(error, self._uri)
        if isinstance(error, StorageError) or file.startswith(str(self._storage.root)):
            return f"storage {str(self._storage.root)!r} cannot be used ({why})"
        if isinstance(error, TrackerLostRunsError) or lost(error):
            return f"tracker {self._tracker} has lost runs of sweep {self._store.name} ({why}); they are made again"
        return f"tracker {self._tracker} {'refuses' if refused(error) else 'cannot be reached'} ({why})"

    def _round(self) -> None:
        began = time.monotonic()
        desires_more = self._watch.read_manifest()
        # Once nobody adds to the store, everything is read: what a folder says of itself is no proof.
        alone = not (self._follow and self._driver)
        changed = self._watch.look(self._driver.since if self._driver else None, thorough=alone)
        self._look_seconds = time.monotonic() - began
        if self._mirror is None or desires_more:
            mirror = self._mirror or Mirror(self._storage, self._watch, connect(self._uri), self._uri)
            mirror.open(self._say_once)
            self._mirror = mirror
            self._runs = mirror.run_count
            self._known |= mirror.shipped()
            if not self._outage.failures:
                self._report("shipping", "")
        self._mirror.update(changed, self._driver is not None, self._took, self._took_measured)
        self._known |= self._mirror.shipped()
        self._watch.read_manifest()  # damage is told once it is known that the whole storage is not away
        for damage in self._watch.damaged.values():
            self._say_once(f"{damage}; the other trials are shipped")
        # Not before a whole round went well: a tracker that takes epochs but no files would come and go for ever.
        since = _amount(self._shipped - self._before[0], self._measured - self._before[1])
        self._outage.ends(lambda: f"tracker {self._tracker} is back; {since} shipped to it since")
        self._before = (self._shipped, self._measured)
        self._report("shipping", "")

    def _took(self, epochs: int) -> None:
        self._shipped += epochs
        if self._mirror and not self._outage.failures and time.monotonic() - self._status_at > _STATUS_SECONDS:
            self._known |= self._mirror.shipped()
            self._report("shipping", "")

    def _took_measured(self, checkpoints: int) -> None:
        self._measured += checkpoints

    def _forget_mirror(self) -> None:
        """What the tracker has is looked up again: it may come back empty, or with two runs where one was asked for."""
        if self._mirror is not None:
            self._known |= self._mirror.shipped()
            self._tags |= self._mirror.measured()
        self._mirror = None

    def _away(self, failure: str) -> None:
        self._forget_mirror()
        self._outage.begins(lambda: self._away_line(failure))
        self._report("unreachable", failure)

    def _away_line(self, failure: str) -> str:
        self._before = (self._shipped, self._measured)
        measured = self._pending_measurements()
        pending = self._watch.pending(self._known)
        training = "; training goes on" if self._driver else ""
        return f"{failure}{training}; {_amount(pending, measured)} {_wait(pending + measured)}"

    def _lingers(self, since_gone: float) -> bool:
        assert self._mirror is not None, "a round without failure has a mirror"
        return self._follow and self._mirror.interrupted and since_gone < LINGER_SECONDS

    def _successor(self) -> Holder | None:
        """Who ships the sweep now, where that is another: this process was stopped for too long, and taken for dead."""
        with contextlib.suppress(OSError):
            holder = self._store.ship_lease.holder()
            if holder and self._mine and holder.token != self._mine.token:
                return holder
        return None

    def _overtaken(self, successor: Holder) -> ShippingResult:
        self._say(f"sweep {self._store.name} is shipped by another now: {successor}; this shipper ends")
        return ShippingResult(self._shipped, self._watch.pending(self._known), self._runs, False, self._measured)

    def _done(self) -> ShippingResult:
        message = f"{_amount(self._shipped, self._measured)} shipped to {self._tracker}"
        if self._watch.damaged:
            return self._left_damaged(message)
        self._report("done", message)
        self._say(message)
        return ShippingResult(self._shipped, self._watch.pending(self._known), self._runs, True, self._measured)

    def _left_damaged(self, message: str) -> ShippingResult:
        pending = self._watch.pending(self._known)
        damaged = self._watch.damaged
        trials = f"{len(damaged)} trial{'' if len(damaged) == 1 else 's'}"
        message = (
            f"{message}, but not all of {trials} that the storage has damaged: {'; '.join(damaged.values())}; "
            f"once that is mended: {ship_command(self._storage.root, self._store.name, self._uri)}"
        )
        self._report("damaged", message)
        self._say(message)
        return ShippingResult(self._shipped, pending, self._runs, False, self._measured)

    def _left_undone(self, failure: str) -> ShippingResult:
        pending, measured = self._watch.pending(self._known), self._pending_measurements()
        message = (
            f"{_amount(pending, measured)} of sweep {self._store.name} not shipped: {failure}; "
            f"once that is mended: {ship_command(self._storage.root, self._store.name, self._uri)}"
        )
        self._report("unreachable", message)
        self._say(message)
        return ShippingResult(self._shipped, pending, self._runs, False, self._measured, measured)

    def _pending_measurements(self) -> int:
        with contextlib.suppress(OSError):
            return self._watch.pending_measurements(self._tags)
        return 0

    def _say_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._say(line)

    def _report(self, state: str, message: str) -> None:
        status = ShipperStatus(state, message, self._watch.pending(self._known), os.getpid())
        self._status_at = time.monotonic()
        if status != self._status:
            with contextlib.suppress(OSError):
                self._store.write_shipper_status(status)
                self._status = status


def _amount(epochs: int, measured: int) -> str:
    again = [f"{measured} measurement{'' if measured == 1 else 's'} from checkpoints"] if measured else []
    return " and ".join(([_epochs(epochs)] if epochs or not measured else []) + again)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"

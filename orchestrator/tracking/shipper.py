"""The shipper: tails the store into MLflow, in a process of its own. The store is the truth, MLflow the window.

Whatever the tracker does, nothing is raised and no epoch is lost: what it did not take is shipped when it is back, and
what it never took is shipped by the command that the last line names.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.store.files import StorageError
from orchestrator.store.layout import ShipperStatus, Storage, SweepStore
from orchestrator.store.lease import Holder, LeaseHeldError
from orchestrator.store.provenance import redacted
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.client import connect, reason, refused, require_mlflow
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.trial_run import unshipped_measurements

POLL_SECONDS = 0.7
LONGEST_PAUSE_SECONDS = 10.0
"""Between two tries while the tracker is away."""
PATIENCE_SECONDS = 60.0
"""How long a follower goes on trying once the driver has ended and the tracker fails."""
ONE_SHOT_PATIENCE_SECONDS = 5.0
"""How long `ship` without ``--follow`` goes on trying: a person waits for it."""
LINGER_SECONDS = 3.0
"""Workers of a driver that was killed commit for about two seconds more."""
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
    require_mlflow()
    with _turn(store, say):
        return _Shipper(storage, store, uri, follow, say).run()


@contextlib.contextmanager
def _turn(store: SweepStore, say: Callable[[str], None]) -> Iterator[None]:
    """The right to ship, once no other shipper has it."""
    waiting = False
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(store.ship_lease)
            except LeaseHeldError as error:
                if not waiting:
                    say(f"{error}; waiting for it to end")
                waiting = True
            else:
                yield
                return
        time.sleep(POLL_SECONDS)


class _Shipper:
    def __init__(self, storage: Storage, store: SweepStore, uri: str, follow: bool, say: Callable[[str], None]) -> None:
        self._storage = storage
        self._store = store
        self._uri = uri
        self._tracker = redacted(uri)
        self._follow = follow
        self._say = say
        self._mirror: Mirror | None = None
        self._known: dict[str, int] = {}
        self._runs = 0
        self._shipped = 0
        self._measured = 0
        self._tags: dict[str, dict[str, str]] = {}
        self._failures = 0
        self._waiting = 0
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
            now = time.monotonic()
            alone = None if self._follow and self._driver else alone or now
            failing = None if failure is None else failing or now
            if alone is not None:
                if failure is None and not self._lingers(now - alone):
                    return self._done()
                if failure is not None and now - max(alone, failing or now) > self._patience:
                    return self._left_undone(failure)
            time.sleep(POLL_SECONDS if failure is None else self._pause())

    def _failure(self) -> str | None:
        """One round; what kept it from its end, if anything did."""
        # Whether a driver is at work is asked before the store is read, so nothing it did comes after the last round.
        try:
            self._driver = self._store.driver_lease.holder()
            self._round(self._driver)
        except Exception as error:  # tracking cannot stop training, nor a bad minute of the tracker end the shipping
            failure = self._sentence(error)
            self._away(failure)
            return failure
        return None

    def _sentence(self, error: Exception) -> str:
        """What failed and why; a full disk or a damaged epoch is not the tracker's fault."""
        file = str(getattr(error, "filename", "") or "")
        if isinstance(error, StorageError) or file.startswith(str(self._storage.root)):
            return f"storage {str(self._storage.root)!r} cannot be used ({reason(error, self._uri)})"
        verb = "refuses" if refused(error) else "cannot be reached"
        return f"tracker {self._tracker} {verb} ({reason(error, self._uri)})"

    def _round(self, driver: Holder | None) -> None:
        if self._mirror is None:
            mirror = Mirror(self._storage, self._store.name, connect(self._uri), self._uri)
            mirror.open(self._say)
            self._mirror = mirror
            self._runs = mirror.run_count
            self._known |= mirror.shipped()
            if not self._failures:
                self._report("shipping", "", self._pending())
        before, measured_before = self._shipped, self._measured
        self._mirror.update(driver.since if driver else None, self._say, self._took, self._took_measured)
        self._known |= self._mirror.shipped()
        if self._failures:
            # Not before a whole round went well: a tracker that takes epochs but no files would come and go for ever.
            since = _amount(self._shipped - before, self._measured - measured_before)
            self._say(f"tracker {self._tracker} is back; {since} shipped to it since")
            self._failures = 0
        self._report("shipping", "", self._pending())

    def _took(self, epochs: int) -> None:
        self._shipped += epochs
        if self._mirror and not self._failures and time.monotonic() - self._status_at > _STATUS_SECONDS:
            self._known |= self._mirror.shipped()
            self._report("shipping", "", self._pending())

    def _took_measured(self, checkpoints: int) -> None:
        self._measured += checkpoints

    def _away(self, failure: str) -> None:
        if self._mirror is not None:
            self._known |= self._mirror.shipped()
            self._tags |= self._mirror.measured()
        # What the tracker has is looked up again when it is back: it may come back empty.
        self._mirror = None
        pending = self._pending()
        if self._failures == 0:
            training = "; training goes on" if self._driver else ""
            measured = self._pending_measurements()
            self._say(f"{failure}{training}; {_amount(pending, measured)} {_wait(pending + measured)}")
        self._failures += 1
        self._report("unreachable", failure, pending)

    def _lingers(self, since_gone: float) -> bool:
        assert self._mirror is not None, "a round without failure has a mirror"
        return self._follow and self._mirror.interrupted and since_gone < LINGER_SECONDS

    def _pause(self) -> float:
        return min(LONGEST_PAUSE_SECONDS, POLL_SECONDS * 2.0 ** (self._failures - 1))

    def _done(self) -> ShippingResult:
        message = f"{_amount(self._shipped, self._measured)} shipped to {self._tracker}"
        self._report("done", message, self._pending())
        self._say(message)
        return ShippingResult(self._shipped, self._pending(), self._runs, True, self._measured)

    def _left_undone(self, failure: str) -> ShippingResult:
        pending, measured = self._pending(), self._pending_measurements()
        message = (
            f"{_amount(pending, measured)} of sweep {self._store.name} not shipped: {failure}; "
            f"once that is mended: {ship_command(self._storage.root, self._store.name, self._uri)}"
        )
        self._report("unreachable", message, pending)
        self._say(message)
        return ShippingResult(self._shipped, pending, self._runs, False, self._measured, measured)

    def _pending(self) -> int:
        with contextlib.suppress(OSError):  # where the storage is away too, what was last known has to do
            sweep, _ = self._store.read_manifest()
            self._waiting = sum(
                self._known.get(trial_id, -1) < epoch <= config.epochs
                for trial_id, config in sweep.by_id.items()
                for epoch in self._storage.trial(trial_id).epochs()
            )
        return self._waiting

    def _pending_measurements(self) -> int:
        with contextlib.suppress(OSError):
            sweep, _ = self._store.read_manifest()
            return sum(
                len(epochs)
                for trial_id, config in sweep.by_id.items()
                for epochs in unshipped_measurements(
                    self._tags.get(trial_id, {}), self._storage.trial(trial_id), config
                ).values()
            )
        return 0

    def _report(self, state: str, message: str, pending: int) -> None:
        status = ShipperStatus(state, message, pending, os.getpid())
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

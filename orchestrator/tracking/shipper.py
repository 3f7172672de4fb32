"""Ships a sweep from the store to MLflow: a loop of rounds with backoff, a lease, a status file and log messages.

Failures of the tracker neither raise an error nor lose a record. Unshipped records are shipped once the tracker is
back, or by the command in the last log message.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.counted import counted
from orchestrator.store.ownership.lease import Holder, Lease, LeaseHeldError, LeaseLostError
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus, SweepStore
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.client import require_mlflow
from orchestrator.tracking.links import ship_command
from orchestrator.tracking.policy import (
    FOLLOW,
    ONE_SHOT,
    OUTAGE_REPORT_SECONDS,
    Action,
    LoopState,
    Message,
    Timing,
    next_step,
)
from orchestrator.tracking.sync import Amount, SweepSync

log = logging.getLogger(__name__)
_STATUS_SECONDS = 1.0  # minimum interval between updates of the status file within a round


@dataclass(frozen=True)
class ShippingResult:
    """What a shipper has shipped, and what is left."""

    shipped: Amount
    pending: Amount  # counts measurements only if the shipper gave up
    runs: int  # number of MLflow runs, including the sweep's; 0 if the tracker was never reached
    complete: bool  # whether the tracker has everything that is committed, including files and statuses


def ship(
    storage: Storage, sweep: str, tracking_uri: str, follow: bool = False, timing: Timing | None = None
) -> ShippingResult:
    """Copies a stored sweep to MLflow. Shipping it again changes nothing. Messages for the user are logged.

    Args:
        storage: the storage that holds the sweep.
        sweep: name of the sweep.
        tracking_uri: MLflow tracking URI.
        follow: keep shipping until the sweep's driver has ended and everything is shipped.
        timing: durations of the loop; by default `policy.FOLLOW` or `policy.ONE_SHOT`.

    Raises:
        ValueError: if MLflow does not support this URI.
        StorageError: if the storage has no such sweep.
        ModuleNotFoundError: if MLflow is not installed.
    """
    uri = absolute_uri(tracking_uri)
    store = storage.sweep(sweep)
    store.read_manifest()
    require_mlflow()
    timing = timing or (FOLLOW if follow else ONE_SHOT)
    with _exclusive(store, timing.poll) as lease:
        return _Shipper(storage, store, lease, uri, follow, timing).run()


@contextlib.contextmanager
def _exclusive(store: SweepStore, poll_seconds: float) -> Iterator[Lease]:
    """Waits until no other process ships the sweep, then holds the lease in the block."""
    waiting = False
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(LeaseLostError))  # the loop reports a takeover itself
        while True:
            try:
                lease = stack.enter_context(store.ship_lease)
                break
            except LeaseHeldError as error:
                if not waiting:
                    log.info("%s; waiting for it to end", error)
                waiting = True
            time.sleep(poll_seconds)
        yield lease


class _Shipper:
    def __init__(
        self, storage: Storage, store: SweepStore, lease: Lease, uri: str, follow: bool, timing: Timing
    ) -> None:
        self._store = store
        self._lease = lease
        self._tracker = redacted(uri)
        self._command = ship_command(storage.root, store.name, uri)
        self._timing = timing
        self._sync = SweepSync(storage, store.name, uri, follow, self._on_progress)
        self._state = LoopState()
        self._shipped_before = Amount()
        self._logged: set[str] = set()
        self._status: ShipperStatus | None = None
        self._status_at = 0.0

    def run(self) -> ShippingResult:
        """Runs rounds until everything is shipped, the shipper gives up, or another shipper takes over."""
        while True:
            outcome = self._sync.sync_once()
            if successor := self._successor():
                log.info("another shipper took over sweep %s: %s; this shipper ends", self._store.name, successor)
                return self._result(complete=False)
            if not outcome.failure:
                self._log_warnings()
            self._state, step = next_step(self._state, outcome, time.monotonic(), self._timing)
            for message in step.messages:
                self._log_message(message, outcome.failure)
            if not outcome.failure:
                self._shipped_before = self._sync.shipped
            if step.action is Action.FINISH:
                return self._finish()
            if step.action is Action.GIVE_UP:
                return self._give_up(outcome.failure)
            self._write_status("unreachable" if outcome.failure else "shipping", outcome.failure)
            if step.action is Action.LOOK_UP_RUNS:
                self._sync.reset()
            time.sleep(step.pause)

    def _successor(self) -> Holder | None:
        """Returns the shipper that has taken over the lease, for example while this process was suspended; or None."""
        with contextlib.suppress(OSError):
            holder = self._lease.holder()
            if holder and holder.token != self._lease.token:
                return holder
        return None

    def _log_warnings(self) -> None:
        if self._sync.runs and self._sync.runs.other_storage:
            self._log_once(f"experiment {self._store.name!r} also has runs of another storage; they are not changed")
        for damage in self._sync.stored.damaged.values():
            self._log_once(f"{damage}; the other trials are shipped")

    def _log_message(self, message: Message, failure: str) -> None:
        if message is Message.RECHECK:
            self._log_once(f"unanswered requests may still complete; checking again in {self._timing.recheck:.0f} s")
            return
        since, self._shipped_before = self._sync.shipped - self._shipped_before, self._sync.shipped
        if message is Message.RECOVERY:
            log.info("tracker %s is back; %s shipped to it since", self._tracker, since)
            return
        pending = replace(self._sync.pending(), unit="record")
        wait = "waits" if pending.records + pending.measurements == 1 else "wait"
        line = f"{failure}{'; training goes on' if self._sync.driver else ''}; {pending} {wait}"
        if message is Message.UNSTABLE:
            minutes = f"{OUTAGE_REPORT_SECONDS / 60:.0f} minutes"
            line += f"; the tracker is unstable, further messages are suppressed for {minutes}"
        log.info("%s", line)

    def _log_once(self, line: str) -> None:
        if line not in self._logged:
            self._logged.add(line)
            log.info("%s", line)

    def _finish(self) -> ShippingResult:
        message, damaged = f"{self._sync.shipped} shipped to {self._tracker}", self._sync.stored.damaged
        if damaged:
            trials = counted(len(damaged), "trial")
            message += f", except for damaged files of {trials}: {'; '.join(damaged.values())}"
        return self._end("damaged" if damaged else "done", message, self._sync.pending_records())

    def _give_up(self, failure: str) -> ShippingResult:
        pending = self._sync.pending()
        return self._end("unreachable", f"{pending} of sweep {self._store.name} not shipped: {failure}", pending)

    def _end(self, state: str, message: str, pending: Amount) -> ShippingResult:
        if state != "done":
            message += f"; once that is fixed: {self._command}"
        self._write_status(state, message)
        log.info("%s", message)
        return self._result(state == "done", pending)

    def _result(self, complete: bool, pending: Amount | None = None) -> ShippingResult:
        runs = len(self._sync.runs.trials) + 1 if self._sync.runs else 0
        return ShippingResult(self._sync.shipped, pending or self._sync.pending_records(), runs, complete)

    def _on_progress(self) -> None:
        if not self._state.failures and time.monotonic() - self._status_at > _STATUS_SECONDS:
            self._write_status("shipping", "")

    def _write_status(self, state: str, message: str) -> None:
        status = ShipperStatus(state, message, self._sync.pending_records().records, os.getpid())
        self._status_at = time.monotonic()
        if status != self._status:
            with contextlib.suppress(OSError):
                self._store.write_shipper_status(status)
                self._status = status

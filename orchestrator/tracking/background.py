"""Starts a shipper process alongside a run, waits for it, and reports its progress."""

import contextlib
import logging
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.store.backends.location import S3Location
from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus, SweepStore
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.links import ship_command, view_lines
from orchestrator.tracking.shipper import ship

log = logging.getLogger(__name__)
SHIP_VARIABLE = "HESSIAN_DYNAMICS_SHIP_SECONDS"
INTERACTIVE_SECONDS = 20.0
"""How long a run waits for the shipper if the variable is not set. Short, because a user waits for the prompt."""
_POLL_SECONDS = 0.1


def ship_seconds() -> float | None:
    """Returns how long a run waits for the shipper, from $HESSIAN_DYNAMICS_SHIP_SECONDS; None if it is not set.

    Containers and batch jobs set the variable, because there the shipper ends together with the run.

    Raises:
        ValueError: if the variable is not a number of seconds.
    """
    text = os.environ.get(SHIP_VARIABLE)
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise ValueError(f"{SHIP_VARIABLE}={text!r}: expected a number of seconds, for example {SHIP_VARIABLE}=600")


def start_shipper(
    storage_root: Path | S3Location, sweep: str, tracking_uri: str, log_file: Path
) -> subprocess.Popen[bytes]:
    """Starts ``hessian-dynamics ship SWEEP --follow`` and appends its output to `log_file`.

    The process runs in a new session, so it survives the driver and Ctrl-C. The URI may contain a password. It is
    passed in the environment, because other users of the machine can read command lines.

    Raises:
        ValueError: if MLflow does not support this URI.
    """
    command = [sys.executable, "-m", "orchestrator.cli", "ship", sweep, "--storage", str(storage_root), "--follow"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": absolute_uri(tracking_uri), "PYTHONUNBUFFERED": "1"}
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def wait_for_first_status(
    store: SweepStore, process: subprocess.Popen[bytes], timeout_seconds: float = 60.0
) -> ShipperStatus | None:
    """Waits for the first status of the shipper, which means that all MLflow runs exist or the tracker is unreachable.

    Returns None if the shipper ended, is waiting for another shipper of the sweep, or exceeded the timeout.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        running = process.poll() is None and time.monotonic() < deadline
        status = store.shipper_status()
        if status and status.pid == process.pid:
            return status
        holder = store.ship_lease.holder()
        if not running or (holder and holder.pid != process.pid):
            return None
        time.sleep(_POLL_SECONDS)


class BackgroundShipper:
    """A shipper process that works alongside a run.

    Args:
        storage: the storage that holds the sweep.
        sweep: name of the sweep.
        tracking_uri: MLflow tracking URI.

    Raises:
        ValueError: if $HESSIAN_DYNAMICS_SHIP_SECONDS is not a number of seconds.
    """

    def __init__(self, storage: Storage, sweep: str, tracking_uri: str) -> None:
        self._storage = storage
        self._store = storage.sweep(sweep)
        self._uri = tracking_uri
        self._limit = ship_seconds()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process. It creates the MLflow runs while the engine starts."""
        self.process = start_shipper(self._storage.root, self._store.name, self._uri, self._store.log)

    def wait_until_ready(self) -> None:
        """Waits until every trial has an MLflow run or the tracker is known to be unreachable."""
        assert self.process is not None
        status = wait_for_first_status(self._store, self.process)
        if status and status.state == "unreachable":
            log.info("%s; training starts, and records are shipped once the tracker is back", status.message)
        elif status is None and self.process.poll() is not None:
            log.info("the shipper ended at once, so training starts without it; see %s", self._store.log)

    def wait_until_shipped(self) -> None:
        """Waits until the shipper ends, up to the time limit. Reports the result and the links to the views."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(INTERACTIVE_SECONDS if self._limit is None else self._limit)
        status = self._store.shipper_status()
        log.info("%s", self._ending(self.process, status if status and status.pid == self.process.pid else None))
        for line in view_lines(self._uri, self._store.name):
            log.info("%s", line)

    def _ending(self, process: subprocess.Popen[bytes], status: ShipperStatus | None) -> str:
        command = f"to ship the rest: {ship_command(self._storage.root, self._store.name, self._uri)}"
        if process.poll() is not None:
            if status and status.state != "shipping":
                return status.message
            return f"the shipper ended early, see {self._store.log}; {command}"
        trouble = f"{status.message}; " if status and status.message else ""
        if self._limit is not None:
            return f"{trouble}shipping is not complete after the {self._limit:g} s of {SHIP_VARIABLE}; {command}"
        background = f"shipping goes on in the background (process {process.pid}, {self._store.log})"
        return f"{trouble}{background}; if it does not finish, {command}"


def ship_now(storage: Storage, sweep: str, tracking_uri: str) -> None:
    """Ships a sweep in this process. Reports the links to the views, or the command to ship the sweep later."""
    try:
        complete = ship(storage, sweep, tracking_uri).complete
    except ModuleNotFoundError as error:
        log.info("%s; then: %s", error, ship_command(storage.root, sweep, tracking_uri))
        return
    for line in view_lines(tracking_uri, sweep) if complete else ():
        log.info("%s", line)

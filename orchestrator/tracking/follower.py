"""A shipper beside the driver, in a process of its own that outlives it."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.store.backends.location import S3Location
from orchestrator.store.sweep import ShipperStatus, SweepStore
from orchestrator.tracking.address import absolute_uri

_POLL_SECONDS = 0.1


def start_follower(
    storage_root: Path | S3Location, sweep: str, tracking_uri: str, log: Path
) -> subprocess.Popen[bytes]:
    """Starts ``hessian-dynamics ship SWEEP --follow``; what it says is appended to `log`.

    It has a session of its own, so neither the driver's end nor the terminal's Ctrl-C reaches it. The URI may hold a
    password and goes through the environment, since everybody on the machine can read a command line.

    Raises:
        ValueError: where MLflow cannot track at this URI.
    """
    command = [sys.executable, "-m", "orchestrator.cli", "ship", sweep, "--storage", str(storage_root), "--follow"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": absolute_uri(tracking_uri), "PYTHONUNBUFFERED": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def wait_for_follower(
    store: SweepStore, follower: subprocess.Popen[bytes], timeout_seconds: float = 60.0
) -> ShipperStatus | None:
    """What the follower first says of itself: all runs exist, or the tracker is away.

    None where it says nothing: it ended, it waits for another shipper of the sweep, or the time is over. Training
    need not wait any longer in any of these cases.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline and follower.poll() is None:
        status = store.shipper_status()
        if status and status.pid == follower.pid:
            return status
        holder = store.ship_lease.holder()
        if holder and holder.pid != follower.pid:
            return None
        time.sleep(_POLL_SECONDS)
    status = store.shipper_status()
    return status if status and status.pid == follower.pid else None


def wait_for_end(
    store: SweepStore, follower: subprocess.Popen[bytes], timeout_seconds: float = 20.0
) -> ShipperStatus | None:
    """What the follower said last. It has ended, unless the time was too short."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        follower.wait(timeout_seconds)
    return store.shipper_status()

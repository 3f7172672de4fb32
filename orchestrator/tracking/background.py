"""What a run says of its shipper: that it is ready, that it has shipped everything, or what will."""

import math
import os
import subprocess
from collections.abc import Callable

from orchestrator.store.storage import Storage
from orchestrator.store.sweep import ShipperStatus
from orchestrator.tracking.address import database_file
from orchestrator.tracking.follower import start_follower, wait_for_end, wait_for_follower
from orchestrator.tracking.links import ship_command, where_to_look

SHIP_VARIABLE = "HESSIAN_DYNAMICS_SHIP_SECONDS"
_PERSON_SECONDS = 20.0
"""How long a run waits for the end of shipping where the variable does not say: a person waits for the prompt."""


def ship_seconds() -> float | None:
    """$HESSIAN_DYNAMICS_SHIP_SECONDS: how long a run waits for the end of shipping; None where it is not set.

    It is set where the end of the run ends all its processes, the shipper too: in a container, in a job.

    Raises:
        ValueError: where it is no number of seconds.
    """
    text = os.environ.get(SHIP_VARIABLE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{SHIP_VARIABLE}={text!r}: expected a number of seconds, {SHIP_VARIABLE}=600 say")
    return seconds


class Following:
    """A shipper beside a run, in a process of its own; starting it, waiting for it, and saying how it goes."""

    def __init__(self, storage: Storage, sweep: str, tracking_uri: str, say: Callable[[str], None]) -> None:
        self._storage = storage
        self._store = storage.sweep(sweep)
        self._uri = tracking_uri
        self._say = say
        self._limit = ship_seconds()
        self._follower: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the shipper; it makes the runs while the engine starts."""
        self._follower = start_follower(self._storage.root, self._store.name, self._uri, self._store.log)

    def wait_until_ready(self) -> None:
        """Waits until every trial has its run, or the tracker is known to be away: training begins either way."""
        assert self._follower is not None
        status = wait_for_follower(self._store, self._follower)
        if status and status.state == "unreachable":
            self._say(f"{status.message}; training begins, the epochs are shipped when it is back")
        elif status is None and self._follower.poll() is not None:
            self._say(f"the shipper ended at once, training begins without it; see {self._store.log}")

    def wait_until_shipped(self) -> None:
        """Waits for the end of shipping, a little or as long as the variable says, and says where to look."""
        assert self._follower is not None
        status = wait_for_end(self._store, self._follower, _PERSON_SECONDS if self._limit is None else self._limit)
        self._say(self._ending(self._follower, status if status and status.pid == self._follower.pid else None))
        if link := where_to_look(self._uri, self._store.name):
            serve = "make ui, then " if database_file(self._uri) else ""
            self._say(f"curves: {serve}{link}")

    def _ending(self, follower: subprocess.Popen[bytes], status: ShipperStatus | None) -> str:
        command = ship_command(self._storage.root, self._store.name, self._uri)
        if follower.poll() is None:
            trouble = f"{status.message}; " if status and status.message else ""
            if self._limit is not None:
                return (
                    f"{trouble}shipping is not done after the {self._limit:g} s of {SHIP_VARIABLE}; "
                    f"what is missing in MLflow, this ships: {command}"
                )
            return (
                f"{trouble}shipping goes on in the background (process {follower.pid}, {self._store.log}); "
                f"what it does not bring to MLflow, this does: {command}"
            )
        if status and status.state != "shipping":
            return status.message
        return f"the shipper ended early, see {self._store.log}; what is missing in MLflow, this ships: {command}"

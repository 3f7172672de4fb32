"""The Ray engine: runs attempts on an existing Ray cluster, or starts Ray on this machine."""

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.process_watch import child_named, process_lives, watched
from orchestrator.scheduling.placement import (
    NoRoomError,
    capacity,
    refuse_oversized,
    resolved,
    this_machine,
    trials_at_a_time,
)
from orchestrator.scheduling.retry import Failure, FailureKind
from orchestrator.study.sweep import Resources
from orchestrator.training.allocator import WORKER_ENVIRONMENT

log = logging.getLogger(__name__)
RESTARTS = 2
"""Maximum number of restarts of Ray on this machine during a run, if it dies."""
_FORWARDED = ("HESSIAN_DYNAMICS_CACHE",)
"""Environment variables passed from the driver to workers on other nodes.

They must not hold secrets, because Ray shows them in its logs and dashboard. Set storage credentials, and the commit of
the installed code, in the environment of each node.
"""
LONGEST_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.9"
"""The longest name of a socket in the folder of Ray's sessions."""
_LONGEST_SOCKET_PATH = 107
"""The limit of Linux for the path of a socket, in bytes."""
_OBJECT_STORE_BYTES = 200_000_000
"""Trials do not use the object store. By default it takes 30% of the memory, which trials could then not request."""
# Ray reads these when it is imported. It requires a token from all that connect to a Ray that it starts itself.
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}
_LOCAL_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # makes all ports listen on the loopback address only
}


@dataclass(frozen=True)
class RayEngine:
    """Runs attempts on Ray. If Ray was started by this engine and dies, it is restarted."""

    resources: Resources
    max_concurrent: int | None = None
    address: str | None = None
    """Address of a cluster; None or ``local`` starts Ray on this machine."""

    def run(self, attempts: Attempts, on_start: Callable[[], None] = lambda: None) -> None:
        """Runs attempts until none is left.

        Raises:
            ConnectionError: if no cluster answers at the address, or Ray died too often.
            NoRoomError: if no node has the resources of a trial.
            ValueError: if the address is malformed.
        """
        address = None if self.address == "local" else self.address
        if address:
            check_reachable(address)
        for start in range(1 + RESTARTS):
            with cluster(address) as alive:
                from orchestrator.scheduling.engines.tune import run_tune  # imports Ray

                if start == 0:
                    granted = self._trial_resources(lambda: attempts.stopping, len(attempts))
                    if granted is None:
                        log.info("stopped before a node joined the cluster; no trial began")
                        return
                    resources = granted
                    attempts.grant(resources)
                    on_start()
                with watched(alive) as watch:
                    run_tune(attempts, resources, self.max_concurrent)
                if not watch.died:
                    return
            attempts.lost(Failure(FailureKind.LOST, "Ray died during the attempt", "Ray died"))
        raise ConnectionError(
            f"Ray on this machine died {1 + RESTARTS} times. Finished records are kept; run the same command again to "
            "continue. Check the free memory and /tmp/ray/session_latest/logs, or use --engine local"
        )

    def _trial_resources(self, stopping: Callable[[], bool], trials: int) -> Resources | None:
        """Returns the resources of each trial, or None if the run is stopped before the first node has joined.

        Logs the nodes and how many of the trials run at a time. Warns if no node is large enough but an autoscaler may
        add one.

        Raises:
            NoRoomError: if no node is large enough and none can be added.
        """
        from orchestrator.scheduling.engines.ray_nodes import first_nodes, fixed_size  # imports Ray

        nodes, alone = first_nodes(stopping), self.address in (None, "local")
        if not nodes and stopping():
            return None
        if alone and any(node.gpus for node in nodes):
            usable = this_machine().gpus  # Ray also counts GPUs that torch cannot use
            nodes = [replace(node, gpus=min(node.gpus, usable)) for node in nodes]
        resources = resolved(self.resources, nodes)
        try:
            refuse_oversized(resources, nodes)
        except NoRoomError as error:
            if alone or fixed_size():
                raise
            log.warning("%s; waiting for the autoscaler to add a node", error)
        at_a_time = min(trials_at_a_time(resources, nodes, self.max_concurrent), trials)
        log.info("%s", capacity(resources, nodes, at_a_time))
        return resources


def check_reachable(address: str, timeout_seconds: float = 3.0) -> str:
    """Checks that a server listens at a cluster's address. Ray itself would take a minute to report that none does.

    Returns:
        One line that describes the cluster.

    Raises:
        ConnectionError: if no server listens.
        ValueError: if the address is malformed.
    """
    if address in ("auto", "local"):
        return f"RAY_ADDRESS {address}: resolved when a run starts"
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ValueError(f"Ray address {address!r}: expected HOST:PORT, for example 10.0.0.5:6379, or ray://HOST:10001")
    try:
        socket.create_connection((host, port), timeout_seconds).close()
    except OSError as error:
        raise ConnectionError(
            f"nothing answers at Ray address {address!r} ({error.strerror or error}); start the cluster there, "
            "correct RAY_ADDRESS, or unset it to start Ray on this machine"
        ) from None
    return f"cluster at {address} answers"


def session_folder() -> str | None:
    """Returns the folder in which Ray on this machine keeps its sessions; None stands for Ray's default.

    The default is replaced if it is so long that the path of a socket there exceeds the limit of the operating system.
    """
    default = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or ""
    fits = len(os.fsencode(f"{default}/ray/{LONGEST_SOCKET}")) <= _LONGEST_SOCKET_PATH
    return None if fits else "/tmp/ray"


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Callable[[], bool]]:
    """Connects to the cluster at an address, or starts one on this machine. Yields a check whether it is alive.

    Raises:
        ModuleNotFoundError: if Ray is not installed.
    """
    for name, value in (_ENVIRONMENT if address else _ENVIRONMENT | _LOCAL_ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "Ray is not installed: pip install 'hessian-dynamics[sweep]', or run with --engine local"
        ) from None
    for name in ("ray.tune", "ray.air", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    forwarded = WORKER_ENVIRONMENT | {name: os.environ[name] for name in _FORWARDED if name in os.environ}
    local = {
        "address": "local",
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_temp_dir": session_folder(),
    }
    ray.init(
        **({"address": address} if address else local),
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": forwarded} if address else None,
    )
    try:
        yield process_lives(None if address else child_named("raylet"))
    finally:
        ray.shutdown()

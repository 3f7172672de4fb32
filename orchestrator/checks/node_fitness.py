"""Checks that a node computes the same numbers as the driver. They run on the node and do not use Ray."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.checks.data import check_data
from orchestrator.checks.devices import check_devices, check_ray_resources
from orchestrator.checks.finding import Finding, ok, problem, warning
from orchestrator.checks.medium import storage_medium
from orchestrator.checks.software import INSTALL, Software, check_against_driver, software
from orchestrator.checks.storage import check_cache
from orchestrator.scheduling.preflight import UnfitError
from orchestrator.store.errors import StorageError
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.study.parts.data_config import Data


@dataclass(frozen=True)
class DriverState:
    """The driver's software, lease and data.

    Workers compare it with their own before each trial, because nodes may join during a run.
    """

    software: Software
    sweep: str
    lease: int
    token: str
    """The token of the driver's lease. No other storage contains it."""
    digests: dict[Data, str]
    """Digests of the driver's data. Two machines may have different images at the same path."""

    def check(self, storage: Storage) -> None:
        """Raises UnfitError if the software or storage of this node differs from the driver's."""
        if differences := software().differences(self.software):
            raise UnfitError(f"node {socket.gethostname()}: {'; '.join(differences)}; {INSTALL}")
        number, token = storage.sweep(self.sweep).driver_lease.newest_token()
        # If a newer driver holds the lease, the trial's claim stops this worker.
        if number < self.lease or (number == self.lease and token != self.token):
            raise UnfitError(f"node {socket.gethostname()}: {_other_storage(storage)}")

    def check_data(self, config: Data, digest: str) -> None:
        """Raises UnfitError if a data set on this node differs from the driver's."""
        expected = self.digests.get(config, digest)
        if digest != expected:
            raise UnfitError(
                f"node {socket.gethostname()}: {config.name} has digest {digest[:12]}, expected {expected[:12]} as "
                "on the driver; copy the driver's images with their modification times (rsync -a), or share the folder"
            )


@dataclass(frozen=True)
class NodeQuery:
    """The driver's request to check a node."""

    storage_root: str
    written: str
    """Name of a file that the driver has written into the storage."""
    content: bytes
    answer: str
    """Name of the file to which the node writes the same content."""
    software: Software
    """The driver's software."""
    data: tuple[Data, ...] = ()
    cpus: float = 0.0
    """CPUs that the node offers to Ray."""
    gpus: float = 0.0


def check_node(query: NodeQuery) -> list[Finding]:
    """The findings of all checks on this node."""
    return [
        *check_against_driver(query.software),
        *_storage(query),
        *check_devices(),
        *check_ray_resources(query.cpus, query.gpus),
        *check_cache(),
        *(check_data(config, ask_servers=True) for config in query.data),
    ]


def _storage(query: NodeQuery) -> Iterator[Finding]:
    try:
        storage = Storage(query.storage_root)
        if storage.files.read(query.written) != query.content:
            yield _other_storage(storage)
            return
        storage.files.create(query.answer, query.content)
        medium = storage_medium(storage.files)
    except StorageError as error:
        yield problem("storage", redacted(str(error)))
        return
    if medium.low_space:
        yield warning("storage", f"{storage.root}: {medium}", "free some space")
    yield ok("storage", "the driver's storage, writable")


def _other_storage(storage: Storage) -> Finding:
    text = f"{storage.root} is not the driver's storage: a file written by the driver is missing"
    return problem("storage", text, "mount the same storage at the same path on every node")

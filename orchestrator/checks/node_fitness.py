"""Whether a node computes what the driver would: looked at on the node itself, without Ray."""

import functools
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.scheduling.preflight import UnfitError
from orchestrator.store.backends import files_at
from orchestrator.store.errors import StorageError
from orchestrator.store.medium import LITTLE_BYTES, examine
from orchestrator.store.provenance.provenance import COMMIT_VARIABLE, capture
from orchestrator.store.provenance.redaction import redacted
from orchestrator.store.storage import Storage
from orchestrator.study.data_config import Data

_COMPUTING = ("torch", "torchvision", "numpy", "scikit-learn", "ray")
"""Packages of which another version may give other numbers, other data or another protocol."""


INSTALL = "start the node from the driver's image, or install requirements.lock and the driver's commit there"


class Weight(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at on a node. Where it is not ok, the text says what to do."""

    subject: str
    weight: Weight
    text: str


@dataclass(frozen=True)
class Software:
    """What runs somewhere."""

    version: str
    commit: str | None
    """As in provenance; None where nobody knows."""
    diff_digest: str | None
    """Of what differs from the commit."""
    python: str
    packages: dict[str, str]

    def misfits(self, driver: "Software") -> list[str]:
        """What is other than the driver's: ``torch 2.13.0, expected 2.14.1 as the driver has it``."""
        pairs = [
            ("Python", self.python, driver.python),
            *((name, self.packages.get(name), driver.packages.get(name)) for name in _COMPUTING),
            ("hessian-dynamics", self.version, driver.version),
        ]
        if self.commit and driver.commit:  # an unknown one is warned of
            pairs.append(("commit", self.commit, driver.commit))
            if self.commit == driver.commit:
                pairs.append(("uncommitted changes", self.diff_digest, driver.diff_digest))
        return [
            f"{name} {found or 'none'}, expected {expected or 'none'} as the driver has it"
            for name, found, expected in pairs
            if _public(found) != _public(expected)
        ]


@functools.cache
def software() -> Software:
    """What runs in this process."""
    here = capture()
    packages = {name: here.packages[name] for name in _COMPUTING if name in here.packages}
    return Software(here.version, here.commit, here.diff_digest, platform.python_version(), packages)


def _public(version: str | None) -> str | None:
    """A version without what follows a ``+``: torch's wheels for CPUs and GPUs are one release."""
    return version.partition("+")[0] if version else version


@dataclass(frozen=True)
class Expected:
    """What a worker holds a node against before every trial, since nodes may join while a sweep runs."""

    software: Software
    sweep: str
    lease: int
    token: str
    """Of the driver's lease: no other storage has it."""
    digests: dict[Data, str]
    """Of the driver's data: what lies at one path on two machines may differ."""

    def check(self, storage: Storage) -> None:
        """Raises UnfitError where this node is none for the driver's trials."""
        if misfits := software().misfits(self.software):
            raise UnfitError(f"node {socket.gethostname()}: {'; '.join(misfits)}; {INSTALL}")
        number, token = storage.sweep(self.sweep).driver_lease.newest_token()
        # A newer driver's lease is none of this: the claims tell the worker that it is an orphan.
        if number < self.lease or (number == self.lease and token != self.token):
            raise UnfitError(f"node {socket.gethostname()}: {_other_storage(storage)}")

    def check_data(self, config: Data, digest: str) -> None:
        """Raises UnfitError where a data set here is not the driver's."""
        expected = self.digests.get(config, digest)
        if digest != expected:
            raise UnfitError(
                f"node {socket.gethostname()}: {config.name} has digest {digest[:12]} there, expected {expected[:12]} "
                "as the driver has it; copy the driver's images there, with their times (rsync -a), or share the folder"
            )


@dataclass(frozen=True)
class Question:
    """What a node is asked."""

    storage_root: str
    written: str
    """The name of a file that the driver has written into the storage."""
    content: bytes
    answer: str
    """The name under which the node is to write the same."""
    software: Software
    """The driver's."""
    data: tuple[Data, ...] = ()
    cpus: float = 0.0
    """What Ray believes that the node has."""
    gpus: float = 0.0


def look(question: Question) -> list[Finding]:
    """What a node has to say."""
    return [
        *_versions(question.software),
        *_storage(question),
        *_devices(question),
        *_cache(),
        *map(_data, question.data),
    ]


def _other_storage(storage: Storage) -> str:
    return (
        f"{storage.root} there is not the driver's storage: what the driver has written is not in it; mount the same "
        "one at the same path on every node"
    )


def _versions(driver: Software) -> Iterator[Finding]:
    here = software()
    if misfits := here.misfits(driver):
        yield Finding("versions", Weight.PROBLEM, f"{'; '.join(misfits)}; {INSTALL}")
        return
    if driver.commit and not here.commit:
        text = f"its commit is not known, the driver's is {driver.commit[:12]}; set {COMMIT_VARIABLE} there"
        yield Finding("versions", Weight.WARNING, text)
    yield Finding("versions", Weight.OK, f"torch {here.packages.get('torch', 'none')}")


def _storage(question: Question) -> Iterator[Finding]:
    try:
        storage = Storage(question.storage_root)
        files = files_at(question.storage_root)
        if files.read(question.written) != question.content:
            yield Finding("storage", Weight.PROBLEM, _other_storage(storage))
            return
        files.create(question.answer, question.content)
    except StorageError as error:
        yield Finding("storage", Weight.PROBLEM, redacted(str(error)))
        return
    free = shutil.disk_usage(storage.root).free if isinstance(storage.root, Path) else None
    if free is not None and free < LITTLE_BYTES:
        yield Finding("storage", Weight.WARNING, f"{storage.root}: {free / 2**30:.1f} GiB free; make room")
    yield Finding("storage", Weight.OK, "the driver's storage, writable")


def _devices(question: Question) -> Iterator[Finding]:
    try:
        from orchestrator.training.devices import check_product, gpus, usable_cores
    except ImportError as error:
        yield Finding("devices", Weight.PROBLEM, f"torch cannot be imported ({error}): pip install torch there")
        return
    cores, found = usable_cores(), gpus()
    if question.cpus > cores:
        text = f"Ray was told {question.cpus:g} CPUs, {cores} are usable: trials would share cores; --num-cpus={cores}"
        yield Finding("devices", Weight.WARNING, text)
    if question.gpus > len(found):
        text = f"Ray believes in {question.gpus:g} GPUs, torch can use {len(found)}; check driver, torch and --num-gpus"
        yield Finding("devices", Weight.PROBLEM, text)
    for device in found:
        try:
            check_product(device)
        except RuntimeError as error:
            yield Finding("devices", Weight.PROBLEM, f"{device}: {error}")
    yield Finding("devices", Weight.OK, f"{question.cpus:g} CPUs" + (f", {len(found)} GPUs" if found else ""))


def _cache() -> Iterator[Finding]:
    try:
        from orchestrator.training.data.cache import CACHE_VARIABLE, cache_folder
    except ImportError:  # torch, of which was said enough
        return
    try:
        medium = examine(cache_folder())
    except StorageError as error:
        text = f"decoded data goes to {cache_folder()}: {error}; set {CACHE_VARIABLE} there"
        yield Finding("cache", Weight.PROBLEM, text)
        return
    weight = Weight.WARNING if medium.little else Weight.OK
    yield Finding("cache", weight, f"{cache_folder()}: {medium}")


def _data(config: Data) -> Finding:
    try:
        from orchestrator.training.data.datasets import obtainable

        return Finding("data", Weight.OK, obtainable(config))
    except (ImportError, ValueError) as error:
        return Finding("data", Weight.PROBLEM, f"{config.name}: {error}")

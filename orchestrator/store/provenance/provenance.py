"""The provenance of a number: the code, command, machine and packages that produced it."""

import contextlib
import functools
import getpass
import hashlib
import os
import platform
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.provenance import attachments
from orchestrator.store.provenance.attachments import DIFF, OWN_CODE, PACKAGES
from orchestrator.store.provenance.redaction import redacted as redacted
from orchestrator.store.provenance.work_tree import commit as _commit
from orchestrator.store.provenance.work_tree import uncommitted

_ROOT = Path(__file__).parents[3]

_PACKAGES = ("torch", "torchvision", "numpy", "ray", "mlflow", "pandas", "scikit-learn")
COMMIT_VARIABLE = "HESSIAN_DYNAMICS_COMMIT"
"""The environment variable that holds the git commit of a container image, which contains no git checkout."""


@dataclass(frozen=True)
class Provenance:
    """The code, command, machine and packages of an attempt or a sweep, captured at its beginning.

    Long texts are stored separately, once per digest (attachments.py).
    """

    version: str
    commit: str | None
    """The git commit of the code, with suffix ``-dirty`` if tracked files were changed; None outside a checkout."""
    command: str
    host: str
    user: str
    python: str
    processor: str
    packages: dict[str, str] = field(default_factory=dict)
    """The versions of the main packages, by name."""
    platform: str = ""
    """Operating system, machine and C library; empty in records of early versions."""
    diff_digest: str | None = None
    """The digest of the uncommitted changes; None if there were none."""
    packages_digest: str = ""
    """The digest of the list of installed packages and their versions; empty in records of early versions."""
    lock_digest: str | None = None
    """The digest of requirements.lock in the checkout; None if the file does not exist."""
    own_code: dict[str, str] = field(default_factory=dict)
    """Maps the modules of the user's code to the digests of their files. Trial ids do not depend on these digests."""
    accepted_code: dict[str, str] = field(default_factory=dict)
    """Maps modules whose change the user accepted to their digests before the change."""

    def to_json(self) -> dict[str, Any]:
        """The fields. `accepted_code` is left out if it is empty, as in records of early versions."""
        return {key: value for key, value in asdict(self).items() if value or key != "accepted_code"}


def command_line() -> str:
    """The command that started this process, without credentials."""
    return redacted(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def capture(
    own_code: Mapping[str, bytes] = MappingProxyType({}),
    command: str | None = None,
    accepted_code: Mapping[str, str] = MappingProxyType({}),
) -> Provenance:
    """Captures the provenance of this process.

    Args:
        own_code: maps the modules of the user's code to their source.
        command: the command that the user ran, if another process started this one.
        accepted_code: as in `Provenance`.
    """
    return Provenance(
        version=metadata.version("hessian-dynamics"),
        commit=_commit() or os.environ.get(COMMIT_VARIABLE) or None,
        command=command or command_line(),
        host=socket.gethostname(),
        user=_user(),
        python=platform.python_version(),
        processor=_processor(),
        packages=_packages(),
        platform=platform.platform(),
        diff_digest=attachments.keep(DIFF, uncommitted()),
        packages_digest=attachments.keep(PACKAGES, _installed_packages()) or "",
        lock_digest=_lock_digest(),
        own_code={module: _keep_code(content) for module, content in own_code.items()},
        accepted_code=dict(accepted_code),
    )


def _keep_code(content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    attachments.keep(OWN_CODE, content.decode(errors="replace"), digest)
    return digest


@functools.cache
def _installed_packages() -> str:
    """All installed packages, one ``name==version`` per line."""
    found = {(each.metadata["Name"] or "").lower(): each.version for each in metadata.distributions()}
    return "".join(sorted(f"{name}=={version}\n" for name, version in found.items() if name))


@functools.cache
def _lock_digest() -> str | None:
    try:
        return hashlib.sha256((_ROOT / "requirements.lock").read_bytes()).hexdigest()
    except OSError:  # installed as a package, so there is no checkout
        return None


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        return str(os.getuid())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_attachments(files: FileSystem, provenance: Provenance) -> None:
    """Stores the attachments that provenance refers to. Call it before storing the provenance."""
    attachments.write(files, DIFF, provenance.diff_digest)
    attachments.write(files, PACKAGES, provenance.packages_digest)
    for digest in provenance.own_code.values():
        attachments.write(files, OWN_CODE, digest)

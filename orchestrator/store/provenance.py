"""Where a number comes from: the code, the command, the machine and the packages that made it."""

import functools
import getpass
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

_PACKAGES = ("torch", "ray", "mlflow", "pandas", "scikit-learn")


@dataclass(frozen=True)
class Provenance:
    """What was running, captured when an attempt or a sweep begins."""

    version: str
    commit: str | None
    """The git commit of the code, with ``-dirty`` where the work tree differed; None outside a git checkout."""
    command: str
    host: str
    user: str
    python: str
    processor: str
    packages: dict[str, str] = field(default_factory=dict)


def capture() -> Provenance:
    """What is running here and now."""
    return Provenance(
        version=metadata.version("hessian-dynamics"),
        commit=_commit(),
        command=redacted(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        host=socket.gethostname(),
        user=_user(),
        python=platform.python_version(),
        processor=_processor(),
        packages=_packages(),
    )


def redacted(text: str) -> str:
    """A text without the user names and passwords of the URIs in it."""
    text = re.sub(r"(://)[^/\s'\"]*@", r"\1***@", text)
    return re.sub(r"((?:password|token|secret)=)[^&\s'\"]+", r"\1***", text, flags=re.IGNORECASE)


def failure_line(traceback: str) -> str:
    """The last line of a traceback: the error and its message, without credentials."""
    lines = redacted(traceback).strip().splitlines()
    return lines[-1][:500] if lines else "unknown"


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def _commit() -> str | None:
    folder = Path(__file__).parent
    tracked = _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
    commit = _git(folder, "rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/") else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

"""Expensive fixtures that are made once for all workers of pytest-xdist."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Returns a folder that `make` has filled. The first worker that needs it calls `make`, and others wait."""
    folder = shared_folder(factory) / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            folder.mkdir()
            make(folder)
            (folder / "complete").touch()
    return folder


def end_shared_processes(factory: pytest.TempPathFactory) -> None:
    """Kills the process groups named by files called `group`. Called when all workers have ended."""
    for path in factory.getbasetemp().glob("*/group"):
        with suppress(ProcessLookupError):
            os.killpg(int(path.read_text()), signal.SIGKILL)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Returns the folder for temporary files of all workers."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

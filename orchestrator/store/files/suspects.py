"""Marks on records that a reader found damaged. A run finds damaged records by the marks without reading all files.

- <storage>/damage/<trial_id>-00003    record 3 was found damaged and must be read again to see whether it is intact
"""

import contextlib
import re

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import StorageError

_FOLDER = "damage"


def add(files: FileSystem, trial_id: str, number: int) -> None:
    """Marks a damaged record; does nothing if the storage is not writable."""
    with contextlib.suppress(StorageError):
        files.create(_name(trial_id, number), b"damaged")


def remove(files: FileSystem, trial_id: str, number: int) -> None:
    """Removes the mark of a record."""
    files.delete(_name(trial_id, number))


def by_trial(files: FileSystem) -> dict[str, tuple[int, ...]]:
    """Maps trial ids to the numbers of their marked records. Some may have been recomputed since then."""
    found: dict[str, tuple[int, ...]] = {}
    for name in files.list(_FOLDER):
        if match := re.fullmatch(r"(.+)-([0-9]{5,})", name):
            found[match[1]] = (*found.get(match[1], ()), int(match[2]))
    return found


def _name(trial_id: str, number: int) -> str:
    return f"{_FOLDER}/{trial_id}-{number:05d}"

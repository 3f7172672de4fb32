"""Epochs that somebody who read them found damaged, noted: a run looks there, and needs not read all that is stored.

- <storage>/damage/<trial_id>-00003    empty; says that epoch 3 is to be read before it is taken for whole
"""

import contextlib
import re

from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import StorageError

_FOLDER = "damage"


def add(files: FileSystem, trial_id: str, epoch: int) -> None:
    """Notes a damaged epoch. Where the storage cannot be written, nothing is noted."""
    with contextlib.suppress(StorageError):
        files.create(_name(trial_id, epoch), b"damaged")


def remove(files: FileSystem, trial_id: str, epoch: int) -> None:
    """Takes a note back."""
    files.delete(_name(trial_id, epoch))


def by_trial(files: FileSystem) -> dict[str, tuple[int, ...]]:
    """The epochs that are noted, by trial id; some may have been computed again since."""
    found: dict[str, tuple[int, ...]] = {}
    for name in files.list(_FOLDER):
        if match := re.fullmatch(r"(.+)-([0-9]{5,})", name):
            found[match[1]] = (*found.get(match[1], ()), int(match[2]))
    return found


def _name(trial_id: str, epoch: int) -> str:
    return f"{_FOLDER}/{trial_id}-{epoch:05d}"

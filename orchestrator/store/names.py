"""Validation of names and paths. No name, whatever its origin, may lead outside the storage."""

import functools
import re

from orchestrator.store.errors import StorageError

_SWEEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_TRIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LONGEST_BYTES = 255
"""The maximum length of a path component on common file systems."""


def valid_path(name: str) -> str:
    """Validates a relative path with components separated by ``/``, and returns it.

    Raises:
        StorageError: the path may lead outside its folder, or some file systems reject it.
    """
    if not all(map(_is_part, name.split("/"))):
        raise StorageError(
            f"{name!r} is not a path in a storage: expected parts separated by single '/', none of them '.' or '..', "
            f"without control characters or backslashes, each at most {_LONGEST_BYTES} bytes long"
        )
    return name


def valid_sweep_name(name: str) -> str:
    """Validates the name of a sweep, which also names a folder, a file and an experiment, and returns it.

    Raises:
        StorageError: the name is invalid.
    """
    if not is_sweep_name(name):
        expected = "at most 80 letters, digits, '_' and '-', beginning with a letter or digit"
        raise StorageError(f"{name!r} is not a valid name of a sweep: expected {expected}")
    return name


def is_sweep_name(name: str) -> bool:
    """Whether this is a valid sweep name."""
    return bool(_SWEEP.fullmatch(name))


def valid_trial_id(name: str) -> str:
    """Validates a trial id, and returns it.

    Raises:
        StorageError: the id is invalid.
    """
    if not _TRIAL.fullmatch(name):
        raise StorageError(
            f"{name!r} is not a valid trial id: expected twelve hexadecimal digits; hessian-dynamics plan shows the ids"
        )
    return name


@functools.lru_cache(maxsize=4096)
def _is_part(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= _LONGEST_BYTES and part not in (".", "..") and part.isprintable() and "\\" not in part

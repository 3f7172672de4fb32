"""What may be a name in a storage: nothing that climbs out of it, whoever made the name up."""

import functools
import re

from orchestrator.store.errors import StorageError

_SWEEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_TRIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LONGEST_BYTES = 255
"""Of one part of a path, on every file system we know."""


def valid_path(name: str) -> str:
    """A relative path with ``/`` between its parts, as it was given.

    Raises:
        StorageError: where it could mean anything outside the folder it is relative to, or no file system takes it.
    """
    if not all(map(_is_part, name.split("/"))):
        raise StorageError(
            f"{name!r} is no name of anything in a storage: expected parts between single '/', none of them '.' or "
            f"'..', without control characters or backslashes, of {_LONGEST_BYTES} bytes at most"
        )
    return name


def valid_sweep_name(name: str) -> str:
    """The name of a sweep, as it was given: a folder, a file and an experiment are called so.

    Raises:
        StorageError: where it is none.
    """
    if not is_sweep_name(name):
        raise StorageError(
            f"{name!r} is no name of a sweep: expected letters, digits, '_' and '-', 80 at most, the first of them a "
            "letter or digit"
        )
    return name


def is_sweep_name(name: str) -> bool:
    """Whether a sweep could be called so."""
    return bool(_SWEEP.fullmatch(name))


def valid_trial_id(name: str) -> str:
    """The id of a trial, as it was given.

    Raises:
        StorageError: where it is none.
    """
    if not _TRIAL.fullmatch(name):
        raise StorageError(f"{name!r} is no id of a trial: expected twelve hex digits, as hessian-dynamics plan shows")
    return name


@functools.lru_cache(maxsize=4096)
def _is_part(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= _LONGEST_BYTES and part not in (".", "..") and part.isprintable() and "\\" not in part

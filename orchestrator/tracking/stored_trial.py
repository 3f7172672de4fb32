"""What cannot be read of one trial: named, and kept from the others."""

from collections.abc import Callable
from typing import TypeVar

from orchestrator.store.errors import StorageError

_UNREADABLE = (StorageError, ValueError, TypeError, KeyError, AssertionError)
"""What reading raises where a medium has damaged a file, or somebody has deleted it since it was listed."""

_Read = TypeVar("_Read")


class DamagedTrialError(Exception):
    """Something that is stored of one trial cannot be read; the message says what, and what to do."""


def whole(trial_id: str, read: Callable[[], _Read]) -> _Read:
    """What is read of one trial.

    Raises:
        DamagedTrialError: where it cannot be.
    """
    try:
        return read()
    except (StorageError, AssertionError) as error:
        raise DamagedTrialError(f"trial {trial_id}: {error}") from error
    except _UNREADABLE as error:
        raise DamagedTrialError(
            f"trial {trial_id}: a file of it is damaged ({type(error).__name__}: {error}); delete it, and run again"
        ) from error

"""Recognises allocations that failed, in torch and elsewhere."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

_FAILED_ALLOCATION = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED")


class TooLargeError(ValueError):
    """Something does not fit into memory. The cause is the error of the allocation."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is a failed allocation. Its causes are not considered."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's and Ray's
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _FAILED_ALLOCATION.search(str(error)) is not None


@contextmanager
def named_if_too_large(what: str, fix: str) -> Iterator[None]:
    """Turns failed allocations into TooLargeError.

    Args:
        what: what does not fit: ``data sorting``.
        fix: what to do about it.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).strip().rpartition("\n")[2]
        raise TooLargeError(f"{what} does not fit into memory ({reason or type(error).__name__}): {fix}") from error

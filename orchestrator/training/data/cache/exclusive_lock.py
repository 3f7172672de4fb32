"""A lock between processes."""

import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive_lock(path: Path, purpose: str) -> Iterator[bool]:
    """Ensures that only one process at a time executes the block, on this machine or, on NFS, on all machines.

    The operating system releases the lock if its holder dies. A waiting process logs who holds the lock. Yields whether
    the lock is held. On a file system without locks, it yields False without waiting.

    Args:
        path: the lock file. It is created if missing and never removed.
        purpose: the activity of the holder for the log message, such as ``decoding images``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    with suppress(OSError):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = path.read_text() or "another process"
            logging.getLogger(__name__).warning("waiting for %s, which is %s", holder, purpose)
            lock.acquire()
        path.write_text(f"process {os.getpid()} on {platform.node()}")
    try:
        yield lock.is_locked
    finally:
        lock.release()

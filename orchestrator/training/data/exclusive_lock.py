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
    """Lets one process at a time into the block: one per machine, on NFS one of all machines that mount it.

    The system releases the lock if its holder dies. A process that has to wait logs who holds it. Yields False, without
    waiting, on a file system that has no locks.

    Args:
        path: the lock file. It is created and stays.
        purpose: the holder's task, for the message.
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

"""One process at a time, and scratch folders that outlive nobody: by locks that die with their holder."""

import fcntl
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """One process at a time, where the file system has locks: of a machine, on NFS of all that mount it.

    Whoever has to wait says on stderr for whom and for what. Where there are no locks nobody waits.

    Args:
        lock: a file that is made, and stays.
        what: is done under the lock, as the waiting ones say it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Not truncated when opened: the holder's note lies in it. NFS locks only what is opened to be written.
    with lock.open("a+") as file:
        with suppress(OSError):
            _take(file.fileno(), lock, what)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        yield


def _take(handle: int, lock: Path, what: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for {lock.read_text() or 'another process'}, which is {what}", file=sys.stderr, flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)


@contextmanager
def aside(folder: Path, purpose: str) -> Iterator[Path]:
    """A folder in `folder` to work in, removed at the end; with those that killed processes left of that purpose."""
    # Only this machine's: a file system that machines share may not share their locks.
    ours = f".{purpose}-{platform.node()}-"
    for left in folder.glob(f"{ours}*"):
        _remove_if_left(left)
    made = folder / f"{ours}{secrets.token_hex(4)}"
    made.mkdir(parents=True)
    handle = os.open(made, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)

"""Watches processes. A block ends if the process that it relies on dies; a worker exits if its parent dies."""

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from orchestrator.scheduling.dropped_signals import repeated_if_dropped

_INTERVAL_SECONDS = 1.0
_DIED = signal.SIGUSR2
"""Sent by the watching thread to the main thread."""


class _DiedError(BaseException):
    """Ends the watched block. A BaseException, so that the block does not catch it."""


@dataclass
class ProcessWatch:
    """Result of a watch."""

    died: bool = False


@contextlib.contextmanager
def watched(alive: Callable[[], bool]) -> Iterator[ProcessWatch]:
    """Ends the block once `alive` returns False, so that it does not wait forever. Only for the main thread."""
    watch, done = ProcessWatch(), threading.Event()

    def poll() -> None:
        while not done.wait(_INTERVAL_SECONDS):
            if not alive():
                watch.died = True
                signal.pthread_kill(threading.main_thread().ident or 0, _DIED)
                return

    def end_block(number: int, frame: FrameType | None) -> None:
        if not done.is_set():
            raise _DiedError

    before = signal.signal(_DIED, end_block)
    thread = threading.Thread(target=poll, name="watch", daemon=True)
    thread.start()
    try:
        with repeated_if_dropped(_DiedError, _DIED):
            yield watch
    except KeyboardInterrupt:
        raise
    except BaseException:  # C extensions may replace the exception with another type
        if not watch.died:
            raise
    finally:
        done.set()
        thread.join()
        signal.signal(_DIED, before)


def child_named(name: str) -> int | None:
    """Returns the pid of a child process by the name of its program; None if there is none or /proc is missing."""
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == name:
                    return int(child)
    return None


def process_lives(pid: int | None) -> Callable[[], bool]:
    """Returns a function that checks whether a process is alive. None counts as alive, a zombie as dead."""

    def lives() -> bool:
        try:
            return pid is None or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return lives


@functools.cache
def exit_with_parent() -> None:
    """Makes this process exit soon after its parent. Otherwise it would compete with the workers of the next run."""
    parent = os.getppid()

    def poll() -> None:
        while os.getppid() == parent:
            time.sleep(_INTERVAL_SECONDS)
        os._exit(1)

    threading.Thread(target=poll, name="parent", daemon=True).start()

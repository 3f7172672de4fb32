"""Whether what the driver relies on still lives; a block ends where it dies, instead of waiting for ever."""

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from orchestrator.scheduling.dropped_signals import repeated_if_dropped

_WATCH_SECONDS = 1.0
_DIED = signal.SIGUSR2
"""How the watching thread tells the main one."""


class _DeadError(BaseException):
    """Not to be caught by the block."""


@dataclass
class Watch:
    """What was seen."""

    died: bool = False


@contextlib.contextmanager
def watched(alive: Callable[[], bool]) -> Iterator[Watch]:
    """Ends the block where what it relies on is no longer alive. For the main thread."""
    watch, done = Watch(), threading.Event()

    def look() -> None:
        while not done.wait(_WATCH_SECONDS):
            if not alive():
                watch.died = True
                signal.pthread_kill(threading.main_thread().ident or 0, _DIED)
                return

    def end(number: int, frame: FrameType | None) -> None:
        if not done.is_set():
            raise _DeadError

    before = signal.signal(_DIED, end)
    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        with repeated_if_dropped(_DeadError, _DIED):
            yield watch
    except KeyboardInterrupt:
        raise
    except BaseException:  # C code makes other errors of an exception that is raised in it
        if not watch.died:
            raise
    finally:
        done.set()
        thread.join()
        signal.signal(_DIED, before)


def child_named(name: str) -> int | None:
    """A process that this one has started, by the name of its program; None where the system tells of none."""
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == name:
                    return int(child)
    return None


def process_lives(pid: int | None) -> Callable[[], bool]:
    """Asks whether a process lives. One that is not known is taken to."""

    def lives() -> bool:
        try:
            return pid is None or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return lives


@functools.cache
def follow_parent() -> None:
    """Lets this process end with the one that started it: an orphan must not go on beside its successor."""
    parent = os.getppid()
    looked = threading.Event()

    def follow() -> None:
        while os.getppid() == parent:
            looked.wait(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=follow, name="parent", daemon=True).start()

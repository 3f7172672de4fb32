"""Passes what a worker process writes to the terminal through its driver, whose live table stays intact."""

import os
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext

_DESCRIPTORS = (1, 2)
"""Standard output and standard error."""


def pipe_for_terminal(context: SpawnContext) -> tuple[Connection | None, Connection | None]:
    """Returns the driver's end and the worker's end of a pipe; twice None if standard output is not a terminal."""
    return context.Pipe(duplex=False) if os.isatty(1) else (None, None)


def write_into(pipe: Connection | None) -> None:
    """Makes this process write into the pipe what it would write to the terminal."""
    if pipe is None:
        return
    for descriptor in filter(os.isatty, _DESCRIPTORS):
        os.dup2(pipe.fileno(), descriptor)
    pipe.close()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as on a terminal


def print_lines_of(pipe: Connection) -> threading.Thread:
    """Starts a thread that prints the lines that a worker writes. It ends with the worker."""
    thread = threading.Thread(target=_print_lines, args=(pipe,), name="worker-output", daemon=True)
    thread.start()
    return thread


def _print_lines(pipe: Connection) -> None:
    with open(pipe.fileno(), errors="replace", closefd=False) as lines:
        for line in lines:
            print(line, end="", flush=True)

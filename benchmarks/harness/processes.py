"""Processes with other environment variables, such as those of trials."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def in_process(
    make: Callable[[], Callable[[int], object]], variables: Mapping[str, str]
) -> Iterator[Callable[[int], None]]:
    """Yields a task that runs in a new process with these environment variables.

    Args:
        make: called once in the process; returns the task, a function of the index of a round. It must be picklable.
        variables: environment variables to set.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make), daemon=True)
    with environment(variables):
        process.start()
    theirs.close()

    def run(number: int) -> None:
        ours.send(number)
        ours.recv()

    try:
        yield run
    finally:
        ours.close()
        process.join()


def _serve(connection: Connection, make: Callable[[], Callable[[int], object]]) -> None:
    task = make()
    while True:
        try:
            number = connection.recv()
        except EOFError:
            return
        task(number)
        connection.send(None)

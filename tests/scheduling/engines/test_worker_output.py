"""What workers write reaches the terminal through the driver, in whole lines."""

import io
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from orchestrator.scheduling.engines.worker_output import pipe_for_terminal, print_lines_of, write_into
from tests.terminal import in_terminal


def worker(pipe: Connection) -> None:
    write_into(pipe)
    print("printed")
    print("a warning", file=sys.stderr)
    os.write(2, b"from a library, without end of line")


def main() -> None:
    """Prints what it is asked to print in brackets."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = pipe_for_terminal(context)
    assert ours and theirs
    process = context.Process(target=worker, args=(theirs,))
    process.start()
    theirs.close()
    terminal, sys.stdout = sys.stdout, io.StringIO()  # a live table replaces it too
    print_lines_of(ours).join()
    process.join()
    terminal.write(f"[{sys.stdout.getvalue()}]")


def test_lines_on_a_terminal_are_printed_by_the_driver(tmp_path: Path) -> None:
    code = "from tests.scheduling.engines.test_worker_output import main; main()"
    root = Path(__file__).parents[3]
    done, written = in_terminal([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(root))
    assert (done, written) == (0, "[printed\r\na warning\r\nfrom a library, without end of line]")


@pytest.mark.usefixtures("capfd")
def test_without_a_terminal_workers_write_by_themselves() -> None:
    assert pipe_for_terminal(multiprocessing.get_context("spawn")) == (None, None)
    write_into(None)

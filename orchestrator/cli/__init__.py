"""The command line: composes the rooms, holds no logic of its own."""

import sys

from rich.console import Console

from orchestrator.cli import computing, reading  # noqa: F401 (the commands register themselves)
from orchestrator.cli.terminal import app
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.claims import SupersededError
from orchestrator.store.ownership.lease import LeaseHeldError, LeaseLostError

_SAID_IN_A_LINE = (
    ValueError,
    StorageError,
    LeaseHeldError,
    LeaseLostError,
    SupersededError,
    ModuleNotFoundError,
    ConnectionError,
)


def main() -> None:
    """Runs the command line; what the user can mend is said in a line, without a traceback."""
    try:
        app()
    except _SAID_IN_A_LINE as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)

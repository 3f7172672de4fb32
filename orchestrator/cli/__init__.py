"""The command-line interface. It parses options, calls the other packages and prints their results."""

import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console

from orchestrator.cli import computing, reading, writing  # noqa: F401 (importing them registers their commands)
from orchestrator.cli.terminal import app
from orchestrator.store.errors import StorageError
from orchestrator.store.ownership.claims import SupersededError
from orchestrator.store.ownership.lease import LeaseHeldError, LeaseLostError
from orchestrator.training.user_code.extension_point import UserCodeError

_USER_ERRORS = (
    ValueError,
    StorageError,
    LeaseHeldError,
    LeaseLostError,
    SupersededError,
    ModuleNotFoundError,
    ConnectionError,
)
"""Errors that the user can fix. Their message is shown without a traceback."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command, by default the one in ``sys.argv``. Exits with code 2 after an error that the user can fix.

    If the user's own code raised the error, the traceback inside this code is printed too.
    """
    _escape_unknown_characters()
    try:
        app(arguments)
    except _USER_ERRORS as error:
        _refuse(error)
    except UserCodeError as error:
        sys.stderr.write(error.traceback)
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    Console(stderr=True).print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(2)


def _escape_unknown_characters() -> None:
    """Makes standard output escape characters that its encoding lacks. Otherwise printing them raises an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")

"""The command-line application, its terminal output and its log messages."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.api.console import ConsoleHandler
from orchestrator.api.console import say as api_say
from orchestrator.scheduling.stopping import handling, interrupt

LOG_VARIABLE = "HESSIAN_DYNAMICS_LOG"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Trains the models of a sweep and measures the Hessian of the loss at every record.\n\n"
    "To start: `hessian-dynamics run quickstart`, then `make ui` to see the curves. "
    "`hessian-dynamics doctor` checks the machine.",
)
console = Console()


def say(line: str) -> None:
    """Prints a line to standard output without wrapping or markup."""
    api_say(console, line)


@app.callback()
def configure_logging(
    verbose: Annotated[
        bool, typer.Option("--verbose", help=f"Show debug messages. Otherwise ${LOG_VARIABLE} sets the level.")
    ] = False,
) -> None:
    """Configures logging: prints the messages of this program, but not those of libraries."""
    level = "DEBUG" if verbose else os.environ.get(LOG_VARIABLE, "INFO").upper()
    if level not in _LEVELS:
        raise ValueError(f"{LOG_VARIABLE}={os.environ[LOG_VARIABLE]!r}: expected one of {', '.join(_LEVELS)}")
    log = logging.getLogger("orchestrator")
    log.setLevel(level)
    log.handlers = [ConsoleHandler(console, Console(stderr=True))]


@contextlib.contextmanager
def interruptible(name: str) -> Iterator[None]:
    """In the block, Ctrl-C, SIGTERM and the closing of the terminal exit with code 130 and a message."""
    try:
        with handling(interrupt):
            yield
    except KeyboardInterrupt:
        say(f"Stopped. All finished records are kept. Run the same command again to continue sweep {name!r}.")
        raise typer.Exit(130) from None

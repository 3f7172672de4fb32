"""The command, and how it speaks."""

import contextlib
import logging
from collections.abc import Iterator

import typer
from rich.console import Console

from orchestrator.scheduling.stopping import handling, interrupt

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Trains the models of a sweep and measures the Hessian of the loss after every epoch.\n\n"
    "`hessian-dynamics run quickstart` is a good beginning; `make ui` shows the curves.",
)
console = Console()


def say(line: str) -> None:
    """Prints a line as it is, however wide the terminal."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    """Prints log messages on the console."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


@app.callback()
def log_to_console() -> None:
    """Prints the messages of the `hessian_dynamics` logger."""
    log = logging.getLogger("hessian_dynamics")
    log.setLevel(logging.INFO)
    log.handlers = [_ConsoleHandler()]


@contextlib.contextmanager
def interruptible(name: str) -> Iterator[None]:
    """Says what Ctrl-C, or SIGTERM, or the end of the terminal left of a sweep; the exit code is 130."""
    try:
        with handling(interrupt):
            yield
    except KeyboardInterrupt:
        say(f"Stopped. What is finished is kept; the same command goes on with sweep {name!r}.")
        raise typer.Exit(130) from None

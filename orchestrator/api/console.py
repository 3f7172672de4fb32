"""Where the Python interface prints, and what it returns for display."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from orchestrator.scheduling.forecast.show import table, trial_rows
from orchestrator.scheduling.plan import Plan
from orchestrator.scheduling.progress.progress import in_notebook


def default_console() -> Console:
    """Returns a console that prints to standard output. Notebooks show plain lines: no widgets, no terminal codes."""
    return Console(force_jupyter=False, force_terminal=False if in_notebook() else None)


def say(console: Console, line: str) -> None:
    """Prints a line without wrapping or markup."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


class ConsoleHandler(logging.Handler):
    """Prints log messages on a console."""

    def __init__(self, console: Console, errors: Console | None = None) -> None:
        super().__init__()
        self._console, self._errors = console, errors or console

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a message without wrapping or markup. WARNING and higher levels go to the console of errors.

        If both consoles are terminals, everything goes to the first one, which prints above its live table.
        """
        separate = record.levelno >= logging.WARNING and not (self._console.is_terminal and self._errors.is_terminal)
        say(self._errors if separate else self._console, self.format(record))


@contextmanager
def messages(console: Console) -> Iterator[None]:
    """In the block, log messages of this package are printed, unless the caller has configured its logger."""
    log = logging.getLogger("orchestrator")
    if log.handlers or log.level:
        yield
        return
    handler = ConsoleHandler(console)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


@dataclass(frozen=True, repr=False)
class Overview:
    """The state of a sweep for display: the table of its trials, and lines below it."""

    plan: Plan
    lines: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table and the lines for rich."""
        yield table(self.plan)
        yield from map(Text, self.lines)

    def __repr__(self) -> str:
        """Returns the table and the lines as text."""
        text = Console(file=io.StringIO(), width=160, force_jupyter=False, force_terminal=False, color_system=None)
        text.print(self, soft_wrap=True)
        assert isinstance(text.file, io.StringIO)
        return text.file.getvalue().rstrip()

    def _repr_html_(self) -> str:
        """Returns the table and the lines for notebooks."""
        header, *rows = trial_rows(self.plan)
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        lines = "".join(f"<div>{escape(line)}</div>" for line in self.lines)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"

"""The live table of running trials on a terminal, with the progress of the sweep below it."""

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

_FRAME_LINES = 4
"""Lines of the header, of the number of trials not shown, of the gap below it, and of the cursor."""
_NODE_COLUMNS = 90
"""Narrower terminals have no column of nodes, because the names of trials need the space."""
_ECHO_COLUMNS = 3
"""Columns left free at the right, so that the ``^C`` that a terminal shows at Ctrl-C does not begin a new line."""


@dataclass(frozen=True)
class RunningTrial:
    """A row of the table."""

    name: str
    node: str
    """Empty if only one node has trials."""
    number: int
    """The number of the last record."""
    records: int
    """The number of the last requested record."""
    loss: float | None
    """Training loss at the last record."""
    lambda_max: float | None
    """Largest Hessian eigenvalue at the last record."""
    left: str
    """The time left; empty if it is unknown."""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The cells of a row after the names: records, loss, lambda_max, time left."""
        return f"{self.number}/{self.records}", _number(self.loss), _number(self.lambda_max), self.left or "-"


@dataclass(frozen=True)
class LiveTable:
    """As many running trials as fit on the terminal, and lines below them."""

    trials: tuple[RunningTrial, ...]
    unit: str
    """The noun for a record."""
    lines: tuple[str, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table and the lines for rich."""
        options = options.update(width=max(1, options.max_width - _ECHO_COLUMNS))
        lines = (line if len(line) <= options.max_width else line.replace(" | ", "\n") for line in self.lines)
        below = Group(*map(Text, lines))
        room = console.height - len(console.render_lines(below, options)) - _FRAME_LINES
        shown = self.trials[: max(1, room)]
        if shown:
            yield from console.render(self._table(shown, options.max_width), options)
        if len(shown) < len(self.trials):
            yield Text(f"and {len(self.trials) - len(shown)} more")
        if shown:
            yield Text()
        yield from console.render(below, options)

    def _table(self, trials: tuple[RunningTrial, ...], width: int) -> Table:
        with_nodes = width >= _NODE_COLUMNS and any(trial.node for trial in trials)
        table = Table(box=None, pad_edge=False, header_style="bold")
        # If the table is too wide, rich shortens the columns that may wrap. The names are then cut instead.
        for header in ("trial", "node") if with_nodes else ("trial",):
            table.add_column(header)
        for header in (self.unit, "loss", "lambda_max", "left"):
            table.add_column(header, justify="right", no_wrap=True)
        for trial in trials:
            names = (trial.name, trial.node) if with_nodes else (trial.name,)
            table.add_row(*(Text(name, no_wrap=True, overflow="ellipsis") for name in names), *map(Text, trial.cells))
        return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

"""Formats the state of a plan as tables and lines for the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table

from orchestrator.counted import counted
from orchestrator.scheduling.forecast.estimate import Status, estimate
from orchestrator.scheduling.forecast.probe import ProbeError
from orchestrator.scheduling.forecast.time_spent import Spending, Spent, spending
from orchestrator.scheduling.options import EngineName
from orchestrator.scheduling.plan import Plan
from orchestrator.store.missing_quantities import missing_in_sweep
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State

MOST_FRAMED = 1000
"""Larger tables are printed without frames, because rich takes seconds to lay out ten thousand rows."""


def table(plan: Plan) -> "Table | PlainTable":
    """Returns a table with the id, label, state and records of each trial."""
    title = f"{plan.sweep.name}: {counted(len(plan.statuses), 'trial')}"
    header, *rows = trial_rows(plan)
    if len(rows) > MOST_FRAMED:
        return PlainTable(title, [header, *rows])
    shown = Table(*header, title=title, title_justify="left")
    for row in rows:
        shown.add_row(*row)
    return shown


def trial_rows(plan: Plan) -> list[tuple[str, str, str, str]]:
    """Returns the header of the table of trials, and its rows."""
    rows = [
        (key, plan.sweep.label(plan.trial(key)), status.state.value, f"{max(status.number, 0)}/{status.records}")
        for key, status in plan.statuses.items()
    ]
    return [("trial", "what", "state", plan.sweep.unit), *rows]


MOST_QUANTITIES = 5
"""Maximum number of quantities whose share of the time is listed."""
MOST_DAMAGED = 10
"""Maximum number of trials whose damaged records are listed."""


@dataclass(frozen=True)
class PlainTable:
    """A table of aligned columns without frames. Print it with ``crop=False``."""

    title: str
    rows: Sequence[Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the lines for rich."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        yield Segment(f"{self.title}\n")
        for row in self.rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            yield Segment(f"{line.rstrip()}\n")


def failures(plan: Plan) -> list[str]:
    """Returns the last line of each failed trial's traceback, and the command that reproduces one failure."""
    failed = {key: status for key, status in plan.statuses.items() if status.state is State.FAILED}
    lines = []
    for trial_id, status in failed.items():
        assert status.attempt is not None, "a failed trial has an attempt"
        reason = status.attempt.reason.strip().splitlines()[-1]
        lines.append(f"failed: {trial_id} ({plan.sweep.label(plan.trial(trial_id))}): {reason}")
    if failed:
        lines.append(f"to reproduce: hessian-dynamics trial {plan.sweep.name} {next(iter(failed))}")
    return lines


def damage(plan: Plan) -> list[str]:
    """Returns the known damaged records and the command that repairs them."""
    lines = [
        f"damaged: {plan.sweep.unit}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} of {trial_id} "
        f"({plan.sweep.label(plan.trial(trial_id))})"
        for trial_id, numbers in list(plan.damaged.items())[:MOST_DAMAGED]
    ]
    if len(plan.damaged) > MOST_DAMAGED:
        lines.append(f"damaged: {plan.sweep.unit}s of {len(plan.damaged) - MOST_DAMAGED} more trials")
    if lines:
        lines.append(f"to repair: hessian-dynamics run {plan.sweep.name} sets them aside and computes them again")
    return lines


def forecast(plan: Plan, engine: EngineName, max_concurrent: int | None, status: Status) -> list[str]:
    """Returns the expected duration of a run on this machine and its shares, or why it is unknown.

    Empty if no record is missing. Downloads and stores nothing.
    """
    if not plan.todo:
        return []
    try:
        expected = estimate(plan, engine, max_concurrent, status)
    except (ValueError, OSError, ProbeError) as error:
        return [f"time unknown: {error}"]
    trials = f"{counted(expected.at_a_time, 'trial')} at a time"
    return [
        f"about {about(expected.seconds)} on this machine, {trials} (probe: {about(expected.probe_seconds)})",
        *split(expected.spent),
    ]


def progress(plan: Plan, storage: Storage) -> list[str]:
    """Returns the quantities that raised, the shares of the time spent, and the time left if a driver is running."""
    found = spending(plan, storage)
    left = [] if found.seconds_left is None else [f"about {about(found.seconds_left)} left"]
    return [*missing(found), *split(found.spent), *left]


def missing(found: Spending) -> list[str]:
    """``missing: my_package:scale raised at 3 records of 1 trial, last in 3f2a: ValueError: ...``, by quantity."""
    return [f"missing: {line}" for line in missing_in_sweep(found.failed)]


def split(spent: Spent) -> list[str]:
    """``time: training 61%, evaluating 4%, measuring 35% of 2h 10m (trial time)``. Empty if no time was spent.

    A second line has the shares of the quantities, unless their times are unknown.
    """
    if spent.seconds == 0:
        return []
    shares = {"training": spent.training, "evaluating": spent.evaluating, "measuring": spent.measuring}
    shown = ", ".join(f"{what} {seconds / spent.seconds:.0%}" for what, seconds in shares.items())
    return [f"time: {shown} of {about(spent.seconds)} (trial time)", *_quantities(spent)]


def _quantities(spent: Spent) -> list[str]:
    """``measuring: lanczos 41%, exact_trace 30%, 2 more 29%``: shares of the time of all quantities."""
    total = sum(spent.quantities.values())
    if not total:
        return []
    slowest = sorted(spent.quantities.items(), key=lambda item: item[1], reverse=True)
    shown = slowest[:MOST_QUANTITIES]
    if rest := slowest[MOST_QUANTITIES:]:
        shown.append((f"{len(rest)} more", sum(seconds for _, seconds in rest)))
    return [f"measuring: {', '.join(f'{name} {seconds / total:.0%}' for name, seconds in shown)}"]


def about(seconds: float) -> str:
    """Formats a time with the precision of a forecast: ``45 s``, ``41 min``, ``5h 40m``, ``3 days 4h``."""
    if seconds < 120:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours < 48 else f"{hours // 24} days {hours % 24}h"

"""The progress line. It is computed from the store, so that it is the same for every engine."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from orchestrator.counted import counted
from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.store.storage import Storage
from orchestrator.store.trial_status import State
from orchestrator.study.sweep import Sweep

REFRESH_SECONDS = 1.0
PLAIN_SECONDS = 15.0
"""Interval between two lines if the output is not a terminal."""
RATE_WINDOW_SECONDS = 600.0


@dataclass(frozen=True)
class Pace:
    """The rate of records."""

    records_per_hour: float | None
    seconds_left: float | None

    def __str__(self) -> str:
        """``, 1,350 an hour, 4m 02s left``; empty if the rate is unknown."""
        if self.records_per_hour is None or self.seconds_left is None:
            return ""
        return f", {self.records_per_hour:,.0f} an hour, {duration(self.seconds_left)} left"


class Progress:
    """Shows the progress of a sweep from a thread while the block runs."""

    def __init__(self, sweep: Sweep, storage: Storage, console: Console) -> None:
        self.storage = storage
        self._sweep = sweep
        self._console = console
        self._plan: Plan | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def line(self) -> str:
        """The current line."""
        self._plan = plan = reconcile(self._sweep, self.storage, self._plan)
        return describe(plan, self.pace(plan.missing_records), self._tracker())

    def _show(self) -> None:
        if notebook := notebook_line():
            while not self._stop.wait(REFRESH_SECONDS):
                notebook(self.line())
            return
        if not self._console.is_terminal:
            last = ""
            while not self._stop.wait(PLAIN_SECONDS):
                if (line := self.line()) != last:
                    self._console.print(line, soft_wrap=True, highlight=False)
                last = line
            return
        with Live(Text(self.line()), console=self._console, auto_refresh=False, transient=True) as live:
            taken = 0.0
            # Reading ten thousand trials takes seconds. The pause leaves most of the driver's time to the engine.
            while not self._stop.wait(max(REFRESH_SECONDS, 10 * taken)):
                began = time.monotonic()
                live.update(Text(self.line(), no_wrap=True, overflow="ellipsis"), refresh=True)
                taken = time.monotonic() - began

    def pace(self, missing: int) -> Pace:
        """The rate over the last ten minutes, given the number of records still missing. Call it for every line."""
        now = time.monotonic()
        self._seen.append((now, missing))
        while now - self._seen[0][0] > RATE_WINDOW_SECONDS:
            self._seen.popleft()
        began, missing_then = self._seen[0]
        if missing_then == missing:
            return Pace(None, None)
        rate = (missing_then - missing) / (now - began)
        return Pace(rate * 3600, missing / rate)

    def _tracker(self) -> str:
        status = self.storage.sweep(self._sweep.name).shipper_status()
        if status is None or status.state != "unreachable":
            return ""
        return f"tracker unreachable, {status.pending_records} records wait"


def in_notebook() -> bool:
    """Whether the code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def notebook_line() -> Callable[[str], None] | None:
    """Returns a function that shows a line in the current cell of a notebook and replaces it at the next call.

    None outside notebooks.
    """
    if not in_notebook():
        return None
    from IPython.display import Pretty, display

    handle = display(Pretty(""), display_id=True)
    return lambda line: handle.update(Pretty(line))


def describe(plan: Plan, pace: Pace, tracker: str = "") -> str:
    """``12 trials: 3 done, 2 running, 7 waiting | 41 of 132 records, 1,350 an hour, 4m 02s left``."""
    counts = plan.counts
    done = counts[State.COMPLETED] + counts[State.DIVERGED]
    states = [f"{done} done", f"{counts[State.RUNNING]} running"]
    if counts[State.DIVERGED]:
        states[0] += f" ({counts[State.DIVERGED]} diverged)"
    if counts[State.FAILED]:
        states.append(f"{counts[State.FAILED]} failed")
    states.append(f"{counts[State.PENDING] + counts[State.INTERRUPTED]} waiting")
    total = sum(status.records + 1 for status in plan.statuses.values())
    parts = [
        f"{counted(len(plan.statuses), 'trial')}: {', '.join(states)}",
        f"{total - plan.missing_records} of {total} {plan.sweep.unit}s{pace}",
    ]
    return " | ".join(part for part in [*parts, tracker] if part)


def duration(seconds: float) -> str:
    """``45s``, ``4m 02s``, ``3h 07m``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"

"""The progress of a sweep. It is computed from the store, so that it is the same for every engine."""

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live

from orchestrator.scheduling.plan import Plan, reconcile
from orchestrator.scheduling.progress.moment import Moment, Pace
from orchestrator.scheduling.progress.nodes import NodeCounts
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep

REFRESH_SECONDS = 1.0
PLAIN_SECONDS = 15.0
"""Interval between two lines if the output is not a terminal."""
RATE_WINDOW_SECONDS = 600.0


class Progress:
    """Shows the progress of a sweep from a thread while the block runs.

    A terminal shows a live table, a notebook shows lines that are replaced, other outputs get plain lines.

    Args:
        sweep: the trials.
        storage: holds their records.
        console: shows the progress.
        on_plan: called with the status of the trials each time it has been read.
    """

    def __init__(
        self, sweep: Sweep, storage: Storage, console: Console, on_plan: Callable[[Plan], None] = lambda plan: None
    ) -> None:
        self.storage = storage
        self._on_plan = on_plan
        self._sweep = sweep
        self._console = console
        self._plan: Plan | None = None
        self._nodes = NodeCounts(storage)
        self._seen: deque[tuple[float, int]] = deque()
        self._printed: tuple[str, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if is_interactive(self._console) and not in_notebook():
            # Standard error may be a file although standard output is a terminal.
            self._live = Live(
                Group(),
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            self._thread.join()
        finally:  # a second Ctrl-C may interrupt the wait
            if self._live:
                self._live.stop()

    def now(self) -> Moment:
        """Reads the current progress from the store."""
        self._plan = plan = reconcile(self._sweep, self.storage, self._plan)
        self._on_plan(plan)
        self._nodes.update(plan)
        shipper = self.storage.sweep(self._sweep.name).shipper_status()
        return Moment.of(plan, self.pace(plan.missing_records), self._nodes, shipper)

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

    def _run(self) -> None:
        show, interval = self._output()
        taken = 0.0
        # Reading ten thousand trials takes seconds. The pause leaves most of the driver's time to the engine.
        while not self._stop.wait(max(interval, 10 * taken)):
            began = time.monotonic()
            with contextlib.suppress(OSError):  # an unreachable storage is reported by the trials
                show(self.now())
            taken = time.monotonic() - began

    def _output(self) -> tuple[Callable[[Moment], None], float]:
        """Returns a function that shows the progress, and the interval between two calls in seconds."""
        if live := self._live:
            return lambda moment: live.update(moment.table(), refresh=True), REFRESH_SECONDS
        if in_notebook():
            return notebook_output(), REFRESH_SECONDS
        return self._print, PLAIN_SECONDS

    def _print(self, moment: Moment) -> None:
        if moment.lines != self._printed:
            self._console.print("\n".join(moment.lines), soft_wrap=True, highlight=False, markup=False)
        self._printed = moment.lines


def is_interactive(console: Console) -> bool:
    """Whether a console is a terminal that a person watches and that can move its cursor."""
    return console.is_interactive and console.file.isatty() and not os.environ.get("CI")


def in_notebook() -> bool:
    """Whether the code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def notebook_output() -> Callable[[Moment], None]:
    """Returns a function that shows lines in the current cell of a notebook and replaces them at the next call."""
    from IPython.display import Pretty, display

    handle = display(Pretty(""), display_id=True)
    return lambda moment: handle.update(Pretty("\n".join(moment.lines)))

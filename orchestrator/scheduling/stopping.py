"""How a person, a job scheduler or the clock stops a run: after the epochs under way first, at once if they insist."""

import contextlib
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from orchestrator.scheduling.dropped_signals import repeated_if_dropped

log = logging.getLogger("hessian_dynamics.stopping")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a job scheduler's or an administrator's request, the end of the terminal."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class Stopping:
    """Whether a run is to end, and who said so.

    Args:
        request: asks the running trials, wherever they are, to end after their epoch.
        budget_seconds: after which trials are asked to end; None where there is no such time.
        lost: whether another driver has taken over: then nobody is asked to stop, since who runs may be its own.
    """

    def __init__(
        self,
        request: Callable[[], None],
        budget_seconds: float | None = None,
        lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._request = request
        self._asked = False
        self._written = False
        self._lost = lost
        self._timer = threading.Timer(budget_seconds, self._out_of_time) if budget_seconds is not None else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    @property
    def requested(self) -> bool:
        """Whether no further trial may begin."""
        if self._lost():
            return True
        if self._asked and not self._written:
            self.ask()  # the storage was away when it was first asked
        return self._asked

    def ask(self) -> None:
        """Lets every trial finish its epoch."""
        self._asked = True
        with contextlib.suppress(OSError):
            self._request()
            self._written = True

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """The first signal lets every trial finish its epoch, the second stops at once.

        Raises:
            KeyboardInterrupt: at the second, and at the first where another driver has taken over.
        """
        with handling(self._on_signal):
            yield

    def cancel(self) -> None:
        """Stops the clock."""
        if self._timer:
            self._timer.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _without_terminal()
        if self._asked or self._lost():
            raise KeyboardInterrupt
        self.ask()
        log.info("Stopping after the epochs under way; nothing is lost. Once more to stop at once.")

    def _out_of_time(self) -> None:
        if not self._asked and not self._lost():
            self.ask()
            log.info("The time budget is used up: stopping after the epochs under way.")


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles the signals that stop a run, as long as the block runs. An ignored SIGHUP (nohup) stays ignored.

    A KeyboardInterrupt of the handler is heard wherever a signal falls (dropped.py).
    """
    with handlers_kept(), repeated_if_dropped(KeyboardInterrupt, signal.SIGINT):
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)
        yield


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """What the block, or a library in it, does to the handlers of these signals ends with it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_main_thread() -> None:
    """Raises KeyboardInterrupt in the main thread, as Ctrl-C does. For other threads."""
    os.kill(os.getpid(), signal.SIGINT)


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler for where there is nothing to finish: everything ends as with Ctrl-C."""
    if number == signal.SIGHUP:
        _without_terminal()
    raise KeyboardInterrupt


def read_budget(text: str | None) -> float | None:
    """Seconds of ``2h``, ``1h30m``, ``90s``; None for None.

    Raises:
        ValueError: where it is no time, or none at all.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    parts = zip(match.groups(), _UNITS.values(), strict=True) if match else ()
    seconds = sum(float(number) * unit for number, unit in parts if number)
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError(f"--budget {text!r}: expected a time such as 2h, 30m, 1h30m or 90s")
    return seconds


def _without_terminal() -> None:
    """Lets nothing more be written to a terminal that is gone: each try would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)

"""Stops a run on a signal or after a time budget. The next records are finished; a second signal stops at once."""

import contextlib
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from orchestrator.scheduling.dropped_signals import repeated_if_dropped

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by a job scheduler or administrator, and when the terminal closes."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class Stopping:
    """Decides whether a run should stop.

    Args:
        request: asks the running trials, wherever they are, to end after their next record.
        budget_seconds: time after which trials are asked to end; None for no limit.
        lost: returns True if another driver has taken over. Then no trial is asked to stop.
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
        self._timer = threading.Timer(budget_seconds or 0.0, self._out_of_time)
        self._timer.daemon = True
        if budget_seconds is not None:
            self._timer.start()

    @property
    def requested(self) -> bool:
        """Whether no further trial may begin."""
        if self._lost():
            return True
        if self._asked and not self._written:
            self.ask()  # again, because the storage was unreachable before
        return self._asked

    def ask(self) -> None:
        """Asks every trial to stop after its next record."""
        self._asked = True
        with contextlib.suppress(OSError):
            self._request()
            self._written = True

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """In the block, the first signal asks every trial to stop after its next record. The second stops at once.

        Raises:
            KeyboardInterrupt: at the second signal, or at the first if another driver has taken over.
        """
        with handling(self._on_signal):
            yield

    def cancel(self) -> None:
        """Cancels the time budget."""
        self._timer.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _silence_terminal()
        if self._asked or self._lost():
            raise KeyboardInterrupt
        self.ask()
        log.info("Stopping after the next records; nothing is lost. Press Ctrl-C again to stop at once.")

    def _out_of_time(self) -> None:
        if not self._asked and not self._lost():
            self.ask()
            log.info("The time budget is used up: stopping after the next records.")


@contextlib.contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handles the stop signals while the block runs. An ignored SIGHUP (nohup) stays ignored.

    A KeyboardInterrupt raised by the handler is never lost, even if Python discards it (see `dropped_signals`).
    """
    with handlers_kept(), repeated_if_dropped(KeyboardInterrupt, signal.SIGINT):
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)
        yield


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Restores the handlers of the stop signals after the block, in case a library has replaced them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_main_thread() -> None:
    """Interrupts the main thread as Ctrl-C does. Meant to be called from other threads."""
    os.kill(os.getpid(), signal.SIGINT)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Signal handler that raises KeyboardInterrupt at once, without waiting for records to finish."""
    if number == signal.SIGHUP:
        _silence_terminal()
    raise KeyboardInterrupt


def read_budget(text: str | None) -> float | None:
    """Returns the seconds of ``2h``, ``1h30m`` or ``90s``; None for None.

    Raises:
        ValueError: if the text is not a positive time.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    parts = zip(match.groups(), _UNITS.values(), strict=True) if match else ()
    seconds = sum(float(number) * unit for number, unit in parts if number)
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise ValueError(f"--budget {text!r}: expected a time such as 2h, 30m, 1h30m or 90s")
    return seconds


def _silence_terminal() -> None:
    """Redirects terminal output to /dev/null. After the terminal has closed, every write would raise an error."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if os.isatty(descriptor):
            os.dup2(devnull, descriptor)
    os.close(devnull)

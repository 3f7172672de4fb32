"""Repeats a signal whose exception Python has dropped.

An exception raised in the callback of a weak reference or in ``__del__`` is only reported. A signal handler may run in
the middle of one, and its exception, such as the KeyboardInterrupt of a single Ctrl-C, would be lost.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

REPEAT_SECONDS = 0.05


@contextlib.contextmanager
def repeated_if_dropped(error: type[BaseException], number: signal.Signals) -> Iterator[None]:
    """While the block runs, sends the main thread a signal again for every such exception that Python has dropped."""
    before = sys.unraisablehook
    repeats: list[threading.Timer] = []

    def repeat(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, error):
            before(dropped)
            return
        # A signal sent from in here would be dropped again.
        main = threading.main_thread().ident or 0
        timer = threading.Timer(REPEAT_SECONDS, signal.pthread_kill, (main, number))
        timer.daemon = True
        repeats.append(timer)
        timer.start()

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in repeats:
            timer.cancel()

"""Sends a signal again if Python has discarded the exception of its handler.

Python prints an exception raised in ``__del__`` or in the callback of a weak reference, and discards it. If a signal
handler runs during such a call, its exception (for example the KeyboardInterrupt of Ctrl-C) is discarded too.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

REPEAT_SECONDS = 0.05


@contextlib.contextmanager
def repeated_if_dropped(error: type[BaseException], number: signal.Signals) -> Iterator[None]:
    """While the block runs, sends the signal to the main thread again whenever Python discards an `error`."""
    before = sys.unraisablehook
    repeats: list[threading.Timer] = []

    def repeat(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, error):
            before(dropped)
            return
        # If the signal were sent from this hook, the exception would be discarded again.
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

"""What a signal's handler raises is heard, wherever the signal falls.

Python only reports what is raised in the callback of a weak reference or in ``__del__``, and a signal comes in the
middle of those as of all else: the one Ctrl-C of a person, the one notice that Ray is dead.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

REPEAT_SECONDS = 0.05


@contextlib.contextmanager
def repeated_if_dropped(error: type[BaseException], number: signal.Signals) -> Iterator[None]:
    """Sends the main thread a signal again for every such error that Python could only report, while the block runs."""
    before = sys.unraisablehook
    repeats: list[threading.Timer] = []

    def repeat(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, error):
            before(dropped)
            return
        # Not from in here: it would be dropped again.
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

"""Signals that arrive where Python discards exceptions."""

import os
import signal
import time


class SignalWhenDeleted:
    """Sends a signal from ``__del__``, where Python discards exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)
        time.sleep(0.01)

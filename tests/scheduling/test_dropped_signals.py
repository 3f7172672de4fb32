"""Signals that arrive while Python discards exceptions."""

import os
import signal
import sys
import time

import pytest

from orchestrator.scheduling.dropped_signals import repeated_if_dropped


class Falls:
    """Sends a signal from ``__del__``, where Python discards exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)
        time.sleep(0.01)


class Reported(BaseException):
    """Raised by the signal handler."""


@pytest.fixture
def raising() -> object:
    """A handler of SIGUSR2 that raises."""

    def end(*_: object) -> None:
        raise Reported

    before = signal.signal(signal.SIGUSR2, end)
    yield
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.usefixtures("raising")
def test_a_discarded_exception_is_raised_again() -> None:
    hook = sys.unraisablehook
    thing = Falls(signal.SIGUSR2)
    with pytest.raises(Reported), repeated_if_dropped(Reported, signal.SIGUSR2):
        del thing
        time.sleep(5)
    assert sys.unraisablehook is hook


@pytest.mark.usefixtures("raising")
def test_no_signal_is_sent_after_the_block() -> None:
    thing = Falls(signal.SIGUSR2)
    with repeated_if_dropped(Reported, signal.SIGUSR2):
        del thing
    time.sleep(0.2)


def test_other_errors_are_reported_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: reported.append(dropped.exc_type))
    thing = type("Fails", (), {"__del__": lambda self: 1 / 0})()
    with repeated_if_dropped(Reported, signal.SIGUSR2):
        del thing
    assert reported == [ZeroDivisionError]

"""Signals that arrive while Python discards exceptions."""

import signal
import sys
import time

import pytest

from orchestrator.scheduling.dropped_signals import repeated_if_dropped
from tests.scheduling.signals import SignalWhenDeleted


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
    thing = SignalWhenDeleted(signal.SIGUSR2)
    with pytest.raises(Reported), repeated_if_dropped(Reported, signal.SIGUSR2):
        del thing
        time.sleep(5)
    assert sys.unraisablehook is hook


@pytest.mark.usefixtures("raising")
def test_no_signal_is_sent_after_the_block() -> None:
    thing = SignalWhenDeleted(signal.SIGUSR2)
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

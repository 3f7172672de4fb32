"""Signals and the time budget: the first request lets epochs finish, the second ends everything."""

import os
import signal
import threading
import time

import pytest

from orchestrator.scheduling.stopping import SIGNALS, Stopping, handlers_kept, handling, interrupt, read_budget
from tests.scheduling.test_dropped_signals import Falls

FIRST_SIGNAL = "Stopping after the current epochs; nothing is lost. Press Ctrl-C again to stop at once."


class Desk:
    def __init__(self, storage_away: int = 0) -> None:
        self.asked = 0
        self._away = storage_away

    def request(self) -> None:
        if self._away:
            self._away -= 1
            raise OSError("away")
        self.asked += 1

    def stopping(self, budget_seconds: float | None = None) -> Stopping:
        return Stopping(self.request, budget_seconds)


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(
    messages: pytest.LogCaptureFixture, first: signal.Signals, second: signal.Signals
) -> None:
    desk = Desk()
    stopping = desk.stopping()
    with handlers_kept(), pytest.raises(KeyboardInterrupt), stopping.on_signals():
        os.kill(os.getpid(), first)
        assert stopping.requested
        assert desk.asked == 1
        assert messages.messages == [FIRST_SIGNAL]
        os.kill(os.getpid(), second)
        time.sleep(5)
    assert desk.asked == 1


def test_the_request_is_repeated_where_the_storage_was_away() -> None:
    desk = Desk(storage_away=2)
    stopping = desk.stopping()
    assert not stopping.requested
    stopping.ask()
    assert stopping.requested
    assert desk.asked == 0
    assert stopping.requested
    assert stopping.requested
    assert desk.asked == 1


def test_the_budget_asks_once_it_is_used_up(messages: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    stopping = desk.stopping(budget_seconds=0.05)
    assert not stopping.requested
    time.sleep(0.5)
    assert stopping.requested
    assert messages.messages == ["The time budget is used up: stopping after the current epochs."]


def test_a_cancelled_budget_asks_nobody() -> None:
    desk = Desk()
    stopping = desk.stopping(budget_seconds=0.2)
    stopping.cancel()
    time.sleep(0.4)
    assert not stopping.requested


def test_a_run_that_another_driver_has_taken_over_ends_at_once_and_asks_nobody() -> None:
    asked: list[None] = []
    lost = threading.Event()
    stopping = Stopping(lambda: asked.append(None), lost=lost.is_set)
    assert not stopping.requested
    lost.set()
    with handlers_kept(), pytest.raises(KeyboardInterrupt), stopping.on_signals():
        threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
        time.sleep(5)
    assert not asked
    assert stopping.requested


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with handlers_kept(), handling(interrupt):
        assert signal.getsignal(signal.SIGTERM) is interrupt
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a library might
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_falls_into_a_callback_is_not_lost() -> None:
    thing = Falls(signal.SIGTERM)
    with handlers_kept(), pytest.raises(KeyboardInterrupt), handling(interrupt):
        del thing
        time.sleep(5)


def test_nohup_stays_nohup() -> None:
    with handlers_kept():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with handling(interrupt):
            os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("30m", 1800), ("1h30m", 5400), ("90s", 90), ("1h0m5s", 3605), ("0.5h", 1800), (" 2h ", 7200)],
)
def test_a_budget_is_read(text: str, seconds: float) -> None:
    assert read_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2d", "-1h", "30m1h", "0s", "two hours", "1e9h", "2 h", "inf", "99999999h"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"--budget {text!r}: expected a time such as 2h, 30m, 1h30m or 90s"):
        read_budget(text)

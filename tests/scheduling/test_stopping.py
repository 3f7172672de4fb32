"""Signals and the time budget: the first stops after the next records, the second at once."""

import os
import signal
import threading
import time

import pytest

from orchestrator.scheduling.stopping import SIGNALS, Stopping, handlers_kept, handling, interrupt, read_budget
from tests.scheduling.signals import SignalWhenDeleted

FIRST_SIGNAL = "Stopping after the next records; nothing is lost. Press Ctrl-C again to stop at once."


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
def test_first_signal_requests_a_stop_and_second_raises(
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


def test_the_stop_request_is_repeated_after_a_storage_error() -> None:
    desk = Desk(storage_away=2)
    stopping = desk.stopping()
    assert not stopping.requested
    stopping.ask()
    assert stopping.requested
    assert desk.asked == 0
    assert stopping.requested
    assert stopping.requested
    assert desk.asked == 1


def test_an_expired_budget_requests_a_stop(messages: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    stopping = desk.stopping(budget_seconds=0.05)
    assert not stopping.requested
    time.sleep(0.5)
    assert stopping.requested
    assert messages.messages == ["The time budget is used up: stopping after the next records."]


def test_a_cancelled_budget_requests_no_stop() -> None:
    desk = Desk()
    stopping = desk.stopping(budget_seconds=0.2)
    stopping.cancel()
    time.sleep(0.4)
    assert not stopping.requested


def test_a_run_taken_over_by_another_driver_requests_no_stop() -> None:
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


def test_signal_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with handlers_kept(), handling(interrupt):
        assert signal.getsignal(signal.SIGTERM) is interrupt
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as a library might do
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_during_del_is_not_lost() -> None:
    thing = SignalWhenDeleted(signal.SIGTERM)
    with handlers_kept(), pytest.raises(KeyboardInterrupt), handling(interrupt):
        del thing
        time.sleep(5)


def test_an_ignored_sighup_stays_ignored() -> None:
    with handlers_kept():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with handling(interrupt):
            os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("30m", 1800), ("1h30m", 5400), ("90s", 90), ("1h0m5s", 3605), ("0.5h", 1800), (" 2h ", 7200)],
)
def test_valid_budgets_are_parsed(text: str, seconds: float) -> None:
    assert read_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2", "h", "2d", "-1h", "30m1h", "0s", "two hours", "1e9h", "2 h", "inf", "99999999h"]
)
def test_invalid_budgets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"--budget {text!r}: expected a time such as 2h, 30m, 1h30m or 90s"):
        read_budget(text)

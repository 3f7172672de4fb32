"""What shows the progress: a live table on a terminal, plain lines elsewhere."""

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.api.console import ConsoleHandler
from orchestrator.scheduling.progress.moment import Pace
from orchestrator.scheduling.progress.progress import Progress, is_interactive
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources, Sweep
from tests.scheduling.stored import attempt, commit_epochs
from tests.training.trials import small_trial

TRIALS = tuple(small_trial(seed=seed, epochs=4) for seed in range(2))
SWEEP = Sweep("two", "", TRIALS, Resources())
LINE = "2 trials: 0 done, 0 running, 2 waiting | 0 of 10 epochs"
RUNNING = "2 trials: 0 done, 1 running, 1 waiting | 2 of 10 epochs"
SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"
"""Codes that show and hide the cursor."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.scheduling.progress.progress.REFRESH_SECONDS", 0.02)
    monkeypatch.setattr("orchestrator.scheduling.progress.progress.PLAIN_SECONDS", 0.02)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_pace_is_averaged_over_the_last_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(SWEEP, Storage(tmp_path), Console(file=io.StringIO()))
    missing = {0.0: 100, 100.0: 90, 600.0: 40, 700.0: 30}
    paces = []
    for seconds, left in missing.items():
        monkeypatch.setattr("time.monotonic", lambda seconds=seconds: seconds)
        paces.append(progress.pace(left))
    assert paces[0] == Pace(None, None)
    assert str(paces[0]) == ""
    assert paces[1] == Pace(360.0, 900.0)
    assert paces[3] == Pace(360.0, 300.0)
    assert str(paces[3]) == ", 360 an hour, 5m 00s left"


def test_plain_lines_are_printed_when_they_change(tmp_path: Path) -> None:
    storage, shown = Storage(tmp_path), io.StringIO()
    with storage.sweep("two").driver_lease, Progress(SWEEP, storage, Console(file=shown)):
        wait_for(lambda: LINE in shown.getvalue())
        trial = storage.trial(TRIALS[1].trial_id)
        trial.write_attempt(attempt("1"))
        wait_for(lambda: "1 running" in shown.getvalue())
    assert [line for line in shown.getvalue().splitlines() if line == LINE] == [LINE]
    assert "\x1b" not in shown.getvalue()
    assert "lambda_max" not in shown.getvalue()


def test_a_terminal_shows_a_table_below_whole_messages(tmp_path: Path) -> None:
    storage, shown = Storage(tmp_path), Terminal()
    console = Console(file=shown, width=120, height=20, color_system=None)
    log = logging.getLogger("orchestrator")
    log.addHandler(ConsoleHandler(console, Console(file=Terminal())))
    warning = f"a warning {'longer than a line ' * 8}"
    with storage.sweep("two").driver_lease, Progress(SWEEP, storage, console):
        trial = storage.trial(TRIALS[1].trial_id)
        trial.write_attempt(attempt("1"))
        commit_epochs(trial, range(2))
        wait_for(lambda: "lambda_max" in shown.getvalue() and RUNNING in shown.getvalue())
        log.warning(warning)
        print("written by a worker")
        before = len(shown.getvalue())
        wait_for(lambda: RUNNING in shown.getvalue()[before:])
    assert f"{warning}\n" in shown.getvalue()
    assert "written by a worker\n" in shown.getvalue()
    assert "seed=1    1/4     1           -     -" in shown.getvalue()
    assert shown.getvalue().rindex(SHOWN) > shown.getvalue().rindex(HIDDEN)
    assert "lambda_max" not in shown.getvalue()[shown.getvalue().rindex("\x1b[2K") :]  # the table is erased


def test_the_terminal_is_restored_if_the_wait_for_the_end_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Terminal()
    progress = Progress(SWEEP, Storage(tmp_path), Console(file=shown))

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt), progress:
        pass
    assert shown.getvalue().rindex(SHOWN) > shown.getvalue().rindex(HIDDEN)


def test_only_a_terminal_that_a_person_watches_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_interactive(Console(file=Terminal()))
    assert not is_interactive(Console(file=io.StringIO()))
    assert not is_interactive(Console(file=io.StringIO(), force_terminal=True))
    monkeypatch.setenv("CI", "true")
    assert not is_interactive(Console(file=Terminal()))
    monkeypatch.delenv("CI")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_interactive(Console(file=Terminal()))

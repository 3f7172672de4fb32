"""The live table of running trials: columns, narrow terminals and many trials."""

import io

import pytest
from rich.console import Console

from orchestrator.scheduling.progress.live_table import LiveTable, RunningTrial

LINE = "4 trials: 1 done, 2 running, 1 waiting | 25 of 52 epochs, 990 an hour, 1m 38s left"
SHIPPING = "tracker: 3 records to ship"
FIRST = RunningTrial("cnn sgd lr=0.05 seed=0", "worker-1", 3, 12, 0.87654, 1234.5678, "4m 02s")
SECOND = RunningTrial("cnn adam lr=0.001 seed=1", "worker-2", 0, 12, None, None, "")


def screen(table: LiveTable, width: int = 100, height: int = 30) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_running_trials_are_above_the_progress_of_the_sweep() -> None:
    assert screen(LiveTable((FIRST, SECOND), "epoch", (LINE, SHIPPING))) == [
        "trial                     node      epoch    loss  lambda_max    left",
        "cnn sgd lr=0.05 seed=0    worker-1   3/12  0.8765        1235  4m 02s",
        "cnn adam lr=0.001 seed=1  worker-2   0/12       -           -       -",
        "",
        LINE,
        SHIPPING,
    ]


def test_without_running_trials_only_lines_are_shown() -> None:
    assert screen(LiveTable((), "epoch", (LINE,))) == [LINE]


@pytest.mark.parametrize("width", [60, 48])
def test_a_narrow_terminal_shortens_the_names_of_trials(width: int) -> None:
    lines = screen(LiveTable((FIRST, SECOND), "record", (LINE, SHIPPING)), width)
    assert max(map(len, lines)) <= width - 3
    assert lines[0].split() == ["trial", "record", "loss", "lambda_max", "left"]
    assert lines[1].endswith("3/12  0.8765        1235  4m 02s")
    assert lines[1].startswith("cnn")
    assert lines[4] == "4 trials: 1 done, 2 running, 1 waiting"  # the parts of a long line get lines of their own


@pytest.mark.parametrize("height", [12, 30])
def test_many_trials_are_cut_to_the_height_of_the_terminal(height: int) -> None:
    lines = screen(LiveTable((FIRST,) * 200, "epoch", (LINE, SHIPPING)), height=height)
    assert len(lines) == height - 1
    rows = sum(line.startswith("cnn") for line in lines)
    assert lines[1 + rows] == f"and {200 - rows} more"
    assert lines[-2:] == [LINE, SHIPPING]

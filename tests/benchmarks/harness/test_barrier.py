"""Concurrent trials that wait for one another."""

import threading
from pathlib import Path

import pytest

from benchmarks.harness.barrier import Barrier


def test_trials_wait_for_each_other(tmp_path: Path) -> None:
    barrier = Barrier(tmp_path, trials=2)
    first = threading.Thread(target=barrier.wait, args=("a", "start"))
    first.start()
    first.join(0.1)
    assert first.is_alive()
    barrier.wait("b", "start")
    first.join(10)
    assert not first.is_alive()


def test_points_are_independent_and_a_missing_trial_is_an_error(tmp_path: Path) -> None:
    barrier = Barrier(tmp_path, trials=2, patience_seconds=0.05)
    (tmp_path / "b.start").touch()
    barrier.wait("a", "start")
    with pytest.raises(RuntimeError, match=r"1 of 2 trials were ready \(end\) within 0 s, expected all"):
        barrier.wait("a", "end")

"""Locks between real processes: one at a time, the others say for whom they wait, and a lock dies with its holder."""

import fcntl
import multiprocessing
import os
import platform
import signal
import time
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from orchestrator.training.data.exclusive_lock import alone, aside

SPAWN = multiprocessing.get_context("spawn")


def _hold(lock: Path, held: Event) -> None:
    with alone(lock, "sleeping"):
        held.set()
        time.sleep(600)


def test_a_lock_dies_with_its_holder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    held = SPAWN.Event()
    process = SPAWN.Process(target=_hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(60)
    with (tmp_path / "lock").open("a") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert process.pid is not None
    killer = SPAWN.Process(target=_kill_soon, args=(process.pid,))
    killer.start()
    with alone(tmp_path / "lock", "reading"):
        process.join(10)
        assert process.exitcode == -signal.SIGKILL, "nobody has the lock beside its holder"
    killer.join()
    said = f"waiting for process {process.pid} on {platform.node()}, which is reading"
    assert capfd.readouterr().err.splitlines() == [said]


def _kill_soon(pid: int) -> None:
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)


def _count(lock: Path, counter: Path, all_here: Barrier) -> None:
    all_here.wait(60)
    with alone(lock, "counting"):
        seen = int(counter.read_text())
        time.sleep(0.02)
        counter.write_text(str(seen + 1))


def test_no_two_are_in_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    all_here = SPAWN.Barrier(6)
    arguments = (tmp_path / "lock", tmp_path / "counter", all_here)
    processes = [SPAWN.Process(target=_count, args=arguments) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert (tmp_path / "counter").read_text() == "6"


def test_only_what_nobody_works_in_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / f".decoding-{platform.node()}-left"
    elsewhere = tmp_path / ".decoding-another.machine-left"
    for folder in (left, elsewhere):
        folder.mkdir()
    with aside(tmp_path, "decoding") as first, aside(tmp_path, "decoding") as second:
        assert first.exists() and second.exists() and elsewhere.exists()
        assert not left.exists()
    assert sorted(tmp_path.glob(".decoding*")) == [elsewhere]

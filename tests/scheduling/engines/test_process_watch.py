"""A block ends if the process it relies on dies, and an orphan ends with its parent."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from orchestrator.scheduling.engines.process_watch import child_named, process_lives, watched


def test_a_block_ends_if_its_process_dies() -> None:
    relied_on = subprocess.Popen(["sleep", "60"])
    threading.Timer(0.3, relied_on.kill).start()
    began = time.monotonic()
    with watched(process_lives(relied_on.pid)) as watch:
        time.sleep(20)
    assert watch.died
    assert time.monotonic() - began < 10
    relied_on.wait()


def test_a_death_is_detected_even_if_python_discards_the_exception() -> None:
    class Late:
        def __del__(self) -> None:
            while not watch.died:
                time.sleep(0.01)
            time.sleep(0.2)

    late, began = Late(), time.monotonic()
    with watched(lambda: False) as watch:
        del late
        time.sleep(20)
    assert watch.died
    assert time.monotonic() - began < 10


def test_a_block_that_ends_by_itself_is_not_interrupted() -> None:
    with watched(process_lives(os.getpid())) as watch:
        pass
    assert not watch.died


def test_a_zombie_counts_as_dead_and_an_unknown_process_as_alive() -> None:
    zombie = subprocess.Popen(["true"])
    time.sleep(0.3)
    assert not process_lives(zombie.pid)()
    zombie.wait()
    assert not process_lives(zombie.pid)()
    assert process_lives(None)()


def test_a_child_is_found_by_its_name() -> None:
    child = subprocess.Popen(["sleep", "60"])
    time.sleep(0.2)
    assert child_named("sleep") == child.pid
    child.kill()
    child.wait()
    assert child_named("no such program") is None


def test_an_orphan_ends_with_its_parent(tmp_path: Path) -> None:
    orphan = (
        "import os, pathlib, time\n"
        "from orchestrator.scheduling.engines.process_watch import exit_with_parent\n"
        "exit_with_parent()\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    starter = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {orphan!r}]); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", starter], env=environment, cwd=root)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    alive = process_lives(int((tmp_path / "pid").read_text()))
    assert alive()
    parent.kill()
    parent.wait()
    while alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)

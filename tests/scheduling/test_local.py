"""The local engine: processes that die are replaced, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.scheduling.local import MAX_DEATHS, run_local
from orchestrator.scheduling.worker import Work
from orchestrator.study.sweep import Resources


@dataclass(frozen=True)
class Recorded(Work):
    """Writes what a real worker would do into files; needs no torch and so no seconds."""

    def run(self, trial_id: str) -> None:
        folder = Path(self.storage_root)
        with (folder / trial_id).open("a") as log:
            log.write(f"{os.getpid()}\n")
        tries = len((folder / trial_id).read_text().splitlines())
        if trial_id.startswith("dies") and tries <= int(trial_id[4:]):
            os.kill(os.getpid(), signal.SIGKILL)
        if trial_id == "sleeps":
            time.sleep(60)


def run(folder: Path, trial_ids: list[str], slots: int = 2) -> list[str]:
    said: list[str] = []
    run_local(Recorded(str(folder), "sweep"), trial_ids, Resources(), slots, lambda: None, said.append)
    return said


def pids(folder: Path, trial_id: str) -> list[int]:
    return [int(line) for line in (folder / trial_id).read_text().splitlines()]


def test_every_trial_runs_once_and_processes_are_kept(tmp_path: Path) -> None:
    names = [f"trial{number}" for number in range(8)]
    assert run(tmp_path, names) == []
    assert all(len(pids(tmp_path, name)) == 1 for name in names)
    assert len({pid for name in names for pid in pids(tmp_path, name)}) <= 2


def test_a_process_that_dies_is_replaced_and_its_trial_tried_again(tmp_path: Path) -> None:
    said = run(tmp_path, ["dies1", "after"], slots=1)
    assert len(set(pids(tmp_path, "dies1"))) == 2
    assert len(pids(tmp_path, "after")) == 1
    assert said == ["trial dies1: its process died (exit code -9); trying again from its last epoch"]


def test_a_trial_that_kills_every_process_is_left_alone(tmp_path: Path) -> None:
    said = run(tmp_path, ["dies99", "after"], slots=1)
    assert len(pids(tmp_path, "dies99")) == MAX_DEATHS
    assert len(pids(tmp_path, "after")) == 1
    assert said[-1].endswith("left alone after 3 times")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_driver(tmp_path: Path, how: signal.Signals) -> None:
    code = f"""
if __name__ == "__main__":
    import signal
    from pathlib import Path
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    from tests.scheduling.test_local import run
    run(Path({str(tmp_path)!r}), ["sleeps"])
"""
    script = tmp_path / "driver.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    driver = subprocess.Popen([sys.executable, str(script)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    deadline = time.monotonic() + 30
    while not (tmp_path / "sleeps").exists() or not (tmp_path / "sleeps").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(how)
    driver.wait(20)
    (worker,) = pids(tmp_path, "sleeps")
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)

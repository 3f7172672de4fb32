"""The local engine: dead processes are replaced, and none outlives the driver."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.counted import counted
from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.local import LocalEngine
from orchestrator.scheduling.job import TrainingJob
from orchestrator.scheduling.placement import this_machine
from orchestrator.scheduling.retry import RULES, Failure, FailureKind, failure_of
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Resources
from orchestrator.training.allocator import WORKER_ENVIRONMENT


@dataclass(frozen=True)
class Recorded(TrainingJob):
    """A fake job that records its calls in files. It is fast because it does not import torch."""

    def run(self, trial_id: str, node: str = "") -> Failure | None:
        folder = Path(self.storage_root)
        began = time.monotonic()
        with (folder / trial_id).open("a") as log:
            log.write(f"{os.getpid()}\n")
        tries = len((folder / trial_id).read_text().splitlines())
        if trial_id.startswith("dies") and tries <= int(trial_id[4:]):
            os.kill(os.getpid(), signal.SIGKILL)
        if trial_id.startswith("memory") and tries <= int(trial_id[6:]):
            return failure_of(MemoryError())
        if trial_id.startswith("bug"):
            return failure_of(ZeroDivisionError(trial_id))
        if trial_id == "environment":
            (folder / "environment.json").write_text(json.dumps(dict(os.environ)))
        if trial_id == "sleeps":
            time.sleep(60)
        if trial_id.startswith(("slow", "memory")):
            time.sleep(0.5)
            (folder / f"{trial_id}-span").write_text(f"{began} {time.monotonic()}")
        return None


def run(folder: Path, trial_ids: list[str], slots: int = 2, memory_gib: float | None = None) -> None:
    attempts = Attempts(Recorded(str(folder), "sweep"), trial_ids, jitter=lambda: 1.0)
    LocalEngine(Resources(memory_gib=memory_gib), slots).run(attempts)


def span(folder: Path, trial_id: str) -> list[float]:
    return [float(time) for time in (folder / f"{trial_id}-span").read_text().split()]


def pids(folder: Path, trial_id: str) -> list[int]:
    return [int(line) for line in (folder / trial_id).read_text().splitlines()]


def test_every_trial_runs_once_and_processes_are_kept(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    names = [f"trial{number}" for number in range(8)]
    run(tmp_path, names)
    (line,) = messages.messages
    assert line.startswith(f"1 node, {counted(os.cpu_count() or 1, 'CPU')}, ")
    assert ": 2 trials at a time (1 CPU each)" in line
    assert all(len(pids(tmp_path, name)) == 1 for name in names)
    assert len({pid for name in names for pid in pids(tmp_path, name)}) <= 2


def test_workers_keep_freed_memory(tmp_path: Path) -> None:
    run(tmp_path, ["environment"])
    assert WORKER_ENVIRONMENT.items() <= json.loads((tmp_path / "environment.json").read_text()).items()


def test_only_trials_that_fit_into_memory_run_together(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    memory = this_machine().memory_gib
    assert memory is not None
    run(tmp_path, ["slow1", "slow2"], memory_gib=0.6 * memory)
    assert f": 1 trial at a time (1 CPU and {0.6 * memory:g} GiB each)" in messages.messages[0]
    assert span(tmp_path, "slow2")[0] > span(tmp_path, "slow1")[1]


def test_a_dead_process_is_replaced_and_its_trial_retried(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    run(tmp_path, ["dies1", "after"], slots=1)
    assert len(set(pids(tmp_path, "dies1"))) == 2
    assert len(pids(tmp_path, "after")) == 1
    died = "its process died (killed by SIGKILL)"
    assert messages.messages[1:] == [f"trial dies1: {died}; retrying from its last record, in 0 s"]


def test_a_trial_that_always_kills_its_process_fails(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    run(tmp_path, ["dies99", "after"], slots=1)
    assert len(pids(tmp_path, "dies99")) == 1 + RULES[FailureKind.LOST].retries
    assert len(pids(tmp_path, "after")) == 1
    line = "its process died (killed by SIGKILL), 4 times without a new record"
    assert messages.messages[-1] == f"trial dies99: {line}; failed"
    (attempt,) = Storage(tmp_path).trial("dies99").attempts()  # the worker died before it could store an attempt
    assert (attempt.ended, attempt.reason.splitlines()[-1]) == ("failed", line)


def test_a_failure_ends_its_process(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    run(tmp_path, ["bug", "after"], slots=1)
    assert messages.messages[1:] == ["trial bug: ZeroDivisionError: bug; failed"]
    assert pids(tmp_path, "bug") != pids(tmp_path, "after")


def test_a_trial_out_of_memory_is_retried_once_alone(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    run(tmp_path, ["memory1", *(f"slow{number}" for number in range(4))])
    assert messages.messages[1:] == [
        "trial memory1: MemoryError; retrying from its last record, alone, when the others are done"
    ]
    assert span(tmp_path, "memory1")[0] > max(span(tmp_path, f"slow{n}")[1] for n in range(4))
    assert len(pids(tmp_path, "memory1")) == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_driver(tmp_path: Path, how: signal.Signals) -> None:
    code = f"""
if __name__ == "__main__":
    import signal
    from pathlib import Path
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    from tests.scheduling.engines.test_local import run
    run(Path({str(tmp_path)!r}), ["sleeps"])
"""
    script = tmp_path / "driver.py"
    script.write_text(code)
    root = Path(__file__).parents[3]
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

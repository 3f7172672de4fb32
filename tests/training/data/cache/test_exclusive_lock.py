"""The lock between processes. Threads stand in for processes, since each opens the lock file separately."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.training.data.cache.exclusive_lock import exclusive_lock

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.training.data.cache.exclusive_lock import exclusive_lock

with exclusive_lock(Path(sys.argv[1]), "sleeping"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_killed_holder_releases_the_lock_and_waiters_log_who_holds_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with lock.open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        acquired = threading.Event()

        def wait() -> None:
            with exclusive_lock(lock, "reading") as locked:
                assert locked
                acquired.set()

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            while not caplog.messages:
                time.sleep(0.01)
            assert not acquired.is_set()
            os.kill(holder.pid, signal.SIGKILL)
            waiting.result(60)
    assert caplog.messages == [f"waiting for process {holder.pid} on {platform.node()}, which is reading"]


def test_only_one_holder_at_a_time(tmp_path: Path) -> None:
    inside, together = 0, threading.Barrier(6)

    def count(number: int) -> int:
        nonlocal inside
        together.wait(60)
        with exclusive_lock(tmp_path / "lock", "counting"):
            inside += 1
            time.sleep(0.01)
            found = inside
            inside -= 1
        return found

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(count, range(6))) == [1] * 6


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_no_waiting_on_a_file_system_without_locks(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive_lock(tmp_path / "lock", "one") as first, exclusive_lock(tmp_path / "lock", "two") as second:
        assert not first and not second

"""A driver that was suspended for a minute stops if a driver on another host has taken over its sweep."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.store.ownership.lease import EXPIRY_SECONDS
from tests.scheduling.processes import LONG, descendants, records, wait_until_gone
from tests.working_folder import COMMAND, WorkingFolder, assert_shipped_once

CONTENT = {**LONG, "trial": {**LONG["trial"], "epochs": 40}}  # type: ignore[dict-item]
OTHER_HOST = "another-host"


def on_another_host(place: WorkingFolder) -> subprocess.Popen[str]:
    """Starts a run with another host name, which Linux keeps per UTS namespace."""
    command = shlex.join([COMMAND, "run", "./e2e.yaml", "--engine", "local"])
    return subprocess.Popen(
        ["unshare", "--uts", "sh", "-c", f"hostname {OTHER_HOST} && exec {command}"],
        cwd=place.folder,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@contextmanager
def killed_at_the_end(*processes: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def written_by(place: WorkingFolder, attempts: set[str]) -> dict[str, bytes | str]:
    """Returns the epochs committed by these attempts, and the stored attempts."""
    found: dict[str, bytes | str] = {}
    for trial_id in place.sweep.by_id:
        trial = place.storage.trial(trial_id)
        found |= {
            f"{trial_id} epoch {epoch}": attempt
            for epoch in trial.numbers()
            if (attempt := trial.read(epoch).attempt) in attempts
        }
        found |= {each.name: each.to_bytes() for each in trial.attempts() if each.name in attempts}
    return found


def names(place: WorkingFolder) -> set[str]:
    return {attempt.name for trial_id in place.sweep.by_id for attempt in place.storage.trial(trial_id).attempts()}


@pytest.mark.slow
def test_a_driver_resumed_after_a_takeover_stops_and_writes_nothing(tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("unshare") or subprocess.run(["unshare", "--uts", "true"]).returncode:
        pytest.skip("changing the host name of a process needs root and unshare")
    place = WorkingFolder(tmp_path, CONTENT)
    first = place.start("--engine", "local")
    with killed_at_the_end(first):
        place.wait_for_epochs(4)
        family = [first.pid, *descendants(first.pid)]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        refused, _ = (early := on_another_host(place)).communicate(timeout=600)
        assert early.returncode == 2
        assert f"e2e: another driver is running: process {first.pid} on " in refused
        ours = names(place)
        before = written_by(place, ours)
        time.sleep(max(0.0, EXPIRY_SECONDS + 2 - (time.monotonic() - stopped)))
        second = on_another_host(place)
        with killed_at_the_end(second):
            place.wait_for_epochs(len([key for key in before if " epoch " in key]) + 4)
            for pid in reversed(family):
                os.kill(pid, signal.SIGCONT)
            said, _ = first.communicate(timeout=600)
            assert first.returncode == 2, said
            assert f"e2e: another driver has taken over: process {second.pid} on {OTHER_HOST}" in said
            assert "Traceback" not in said
            wait_until_gone(family)
            said, _ = second.communicate(timeout=600)
            assert second.returncode == 0, said
    assert written_by(place, ours) == before
    assert_shipped_once(place)
    (tmp_path / "twin").mkdir()
    twin = WorkingFolder(tmp_path / "twin", CONTENT)
    code, said = twin.run("--engine", "local")
    assert code == 0, said
    assert records(place) == records(twin)

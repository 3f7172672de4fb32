"""Wall time, processor time and requests of a command."""

import sys
from pathlib import Path

import pytest

from benchmarks.race.observed import Tracker, observe

BUSY = "import time\nwhile time.process_time() < 0.5: pass"
CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}])"


def test_the_time_of_a_child_that_outlives_the_command_counts(tmp_path: Path) -> None:
    tracker = _silent(tmp_path)
    taken = observe([sys.executable, "-c", CHILD], tmp_path, tracker)
    assert taken.wall_seconds > 0.3
    assert 0.3 < taken.cpu_seconds < 2
    assert taken.requests == 0


def test_a_failed_command_shows_its_output(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3:\nno images"):
        observe([sys.executable, "-c", "print('no images'); raise SystemExit(3)"], tmp_path, _silent(tmp_path))


def test_requests_to_the_api_count_and_those_for_pages_do_not(tmp_path: Path) -> None:
    tracker = _silent(tmp_path)
    (tmp_path / "server.txt").write_text(
        'INFO: 127.0.0.1:1 - "POST /api/2.0/mlflow/runs/create HTTP/1.1" 200 OK\n'
        'INFO: 127.0.0.1:1 - "GET /health HTTP/1.1" 200 OK\n'
        'INFO: 127.0.0.1:1 - "GET /api/2.0/mlflow/runs/get?run_id=a HTTP/1.1" 200 OK\n'
    )
    assert tracker.requests == 2


def _silent(folder: Path) -> Tracker:
    (folder / "server.txt").touch()
    return Tracker(folder)

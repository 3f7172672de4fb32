"""Runs a command and observes its wall time, its processor time and its requests to an MLflow server."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.harness.settings import say

_MARK = "HESSIAN_DYNAMICS_RACE"
"""Environment variable that marks all processes of a command, also those that outlive their parent."""
_NOT_INHERITED = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
_INTERVAL = 0.1
_TIMEOUT = 3600


@dataclass(frozen=True)
class Observed:
    """The cost of a command."""

    wall_seconds: float
    cpu_seconds: float
    """Of all its processes. The last tenth of a second of each process is not seen."""
    requests: int
    """Number of HTTP requests to MLflow."""


class Tracker:
    """An MLflow server that runs within the context, with an SQLite database in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "server.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.uri = f"http://127.0.0.1:{probe.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts the server and waits until it answers.

        Raises:
            RuntimeError: if it ends or does not answer within two minutes.
        """
        port = self.uri.rpartition(":")[2]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self._log.open("w") as log:
            server = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait(server)
            yield
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        for _ in range(240):
            try:
                urlopen(f"{self.uri}/health", timeout=5).close()
            except (URLError, ConnectionError):
                if server.poll() is not None:
                    break
                time.sleep(0.5)
            else:
                return
        raise RuntimeError(f"the MLflow server did not start:\n{self._log.read_text()}")

    @property
    def requests(self) -> int:
        """Number of requests to MLflow's API so far."""
        return len(re.findall(r'"(?:GET|POST|PUT|PATCH|DELETE) /(?:api|ajax-api)/', self._log.read_text()))


def observe(command: Sequence[str], folder: Path, tracker: Tracker) -> Observed:
    """Runs a command in a folder until it and all its background processes have ended.

    Raises:
        RuntimeError: if it fails, with its output.
    """
    mark, output = uuid.uuid4().hex, folder / "output.txt"
    environment = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    before, began = tracker.requests, time.perf_counter()
    with output.open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**environment, _MARK: mark}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    clock = ProcessorClock(mark)
    while clock.sample() or process.poll() is None:
        if time.perf_counter() - began > _TIMEOUT:
            process.kill()
        time.sleep(_INTERVAL)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output.read_text()[-5000:]}")
    taken = Observed(time.perf_counter() - began, clock.seconds, tracker.requests - before)
    say(f"    {taken.wall_seconds:.1f} s, {taken.cpu_seconds:.1f} s of CPU, {taken.requests} requests to MLflow")
    return taken


class ProcessorClock:
    """Sums the processor time of all processes with a mark in their environment. Call `sample` frequently."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{_MARK}={mark}".encode()
        self._ticks: dict[tuple[str, str], int] = {}
        """Maps id and start time of a process to its ticks so far."""

    @property
    def seconds(self) -> float:
        """User and system time, in seconds, of all processes seen so far."""
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")

    def sample(self) -> int:
        """Reads the time of all processes. Returns how many are running."""
        running = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                key = (folder.name, fields[19])
                # Ray changes the title of its processes, which overwrites their environment in /proc.
                if key in self._ticks or self._mark in (folder / "environ").read_bytes():
                    self._ticks[key] = int(fields[11]) + int(fields[12])
                    running += fields[0] != "Z"
            except OSError:  # it has just ended
                continue
        return running

"""Processes that ship, drive and serve, to be killed; and a gate that makes a tracker come and go."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path

from orchestrator.store.storage import Storage
from orchestrator.tracking.client import require_mlflow
from orchestrator.tracking.shipper import ship

DRIVE = """\
import sys
from orchestrator.store.storage import Storage
with Storage(sys.argv[1]).sweep(sys.argv[2]).driver_lease:
    print("ready", flush=True)
    sys.stdin.readline()
"""

require_mlflow()  # its settings are inherited by the processes below
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["mlflow", "mlflow.store.tracking.sqlalchemy_store", "orchestrator.tracking.shipper"])


class Shipping:
    """A shipper in a process of its own, forked from one that has MLflow's seconds of imports behind it."""

    def __init__(self, storage: Storage, name: str, uri: str, follow: bool = False) -> None:
        files = storage.root.parent
        self._output = files / f"shipper-{len(list(files.glob('shipper-*')))}.txt"
        self._output.touch()
        arguments = (storage.root, name, uri, follow, self._output)
        self._process = _forks.Process(target=_ship, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def lines(self) -> list[str]:
        """What it has printed so far."""
        return self._output.read_text().splitlines()

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._process.kill()
        self._process.join()

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def said(self) -> list[str]:
        """What it printed, once it has ended by itself."""
        self._process.join(90)
        assert self._process.exitcode == 0, self.lines()
        return self.lines()


def _ship(root: Path, name: str, uri: str, follow: bool, output: Path) -> None:
    with output.open("w", buffering=1) as stream, redirect_stdout(stream):
        print(ship(Storage(root), name, uri, follow, print))


@contextmanager
def driving(storage: Storage, name: str) -> Iterator[subprocess.Popen[str]]:
    """A driver at work on a sweep; a line on its standard input ends it in peace."""
    command = [sys.executable, "-c", DRIVE, str(storage.root), name]
    repository = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            kill(process)


def release(driver: subprocess.Popen[str]) -> None:
    driver.communicate("\n", timeout=60)


def kill(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """kill -9, and waits until it is gone."""
    process.kill()
    process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A real tracking server, in a process group of its own."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )


def stop_server(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


class Gate:
    """A port that leads to a server while it is open: one that goes and comes back without its slow start."""

    def __init__(self, server: str) -> None:
        self._target = int(server.rpartition(":")[2])
        self._port = free_port()
        self._sockets: list[socket.socket] = []
        self.uri = f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self._port))
        self._sockets = [listening]
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def close(self) -> None:
        """Refuses what comes, and cuts what is under way."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                ours, _ = listening.accept()
                try:
                    theirs = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # the server is not there: nobody answers, and the gate stays open
                    ours.close()
                    continue
                self._sockets += [ours, theirs]
                for ends in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=_forward, args=ends, daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 16):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)

"""Shipper, driver and server processes for tests, and a gate that makes a tracker unreachable."""

import logging
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
from multiprocessing.synchronize import Event
from pathlib import Path

from orchestrator.store.storage import Storage
from orchestrator.tracking.address import absolute_uri
from orchestrator.tracking.client import require_mlflow
from orchestrator.tracking.policy import Timing
from orchestrator.tracking.shipper import ShippingResult, ship

require_mlflow()  # the processes below inherit its settings
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["mlflow", "mlflow.store.tracking.sqlalchemy_store", "orchestrator.tracking.shipper"])


class ForkedProcess:
    """A process with the interface of `subprocess.Popen`, forked from a server that has already imported MLflow."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._process = _forks.Process(target=target, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("process", timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end."""
        self._process.kill()
        self._process.join()


class ShipperProcess(ForkedProcess):
    """A shipper whose messages go to a file."""

    def __init__(
        self, storage: Storage, name: str, uri: str, follow: bool = False, log_file: Path | None = None
    ) -> None:
        files = storage.root.parent
        self._output = log_file or files / f"shipper-{len(list(files.glob('shipper-*')))}.txt"
        self._output.parent.mkdir(exist_ok=True)
        self._output.touch()
        super().__init__(_ship, storage.root, name, uri, follow, self._output)

    def lines(self) -> list[str]:
        """Returns the messages so far."""
        return self._output.read_text().splitlines()

    def final_lines(self) -> list[str]:
        """Waits until the shipper ends by itself. Returns its messages and, as the last line, its result."""
        assert self.wait(90) == 0, self.lines()
        return self.lines()


def _ship(root: Path, name: str, uri: str, follow: bool, output: Path) -> None:
    with output.open("w", buffering=1) as stream, redirect_stdout(stream):
        logging.basicConfig(stream=stream, format="%(message)s")
        logging.getLogger("orchestrator").setLevel(logging.INFO)
        print(ship(Storage(root), name, uri, follow))


HURRIED = Timing(poll=0.05, longest_pause=0.5, recheck=5.0)
IMPATIENT = Timing(poll=0.05, longest_pause=0.1, patience=0.1)


class ShipperThread(threading.Thread):
    """`ship --follow` in this process."""

    def __init__(self, storage: Storage, name: str, uri: str, timing: Timing = HURRIED) -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self.result: ShippingResult | None = None
        self._arguments = (storage, name, uri, True, timing)

    def run(self) -> None:
        handler = LineHandler(self.lines)
        handler.addFilter(lambda record: record.thread == self.ident)
        log = logging.getLogger("orchestrator")
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        try:
            self.result = ship(*self._arguments)
        finally:
            log.removeHandler(handler)

    def ended(self) -> ShippingResult:
        """Waits for the end and returns the result."""
        self.join(90)
        assert self.result is not None, self.lines
        return self.result


class LineHandler(logging.Handler):
    """Appends messages to a list."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def forked_shipper(root: Path, sweep: str, uri: str, log_file: Path) -> ShipperProcess:
    """Replaces `background.start_shipper`, whose process needs seconds to import everything."""
    return ShipperProcess(Storage(root), sweep, absolute_uri(uri), follow=True, log_file=log_file)


class DriverProcess(ForkedProcess):
    """A process that holds a sweep's driver lease until it is released or killed."""

    def __init__(self, storage: Storage, name: str) -> None:
        ready = _forks.Event()
        self._end = _forks.Event()
        super().__init__(_drive, storage.root, name, ready, self._end)
        assert ready.wait(60)

    def release(self) -> None:
        """Makes the driver end and release the lease."""
        self._end.set()
        self._process.join(60)


def _drive(root: Path, name: str, ready: Event, end: Event) -> None:
    with Storage(root).sweep(name).driver_lease:
        ready.set()
        end.wait()


@contextmanager
def driving(storage: Storage, name: str) -> Iterator[DriverProcess]:
    """Runs a driver of a sweep; kills it at the end unless it was released."""
    driver = DriverProcess(storage, name)
    try:
        yield driver
    finally:
        driver.kill()


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def start_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Starts a tracking server in its own process group."""
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
    """A port that forwards to a server while open. It simulates outages without the slow restart of a server."""

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
        """Refuses new connections and cuts open ones."""
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
                except OSError:  # no server: the gate stays open
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

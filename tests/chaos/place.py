"""The setting of a storm: a sweep, a small disk for its storage, a real tracking server, and a driver."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep
from tests.chaos.fake_run import EPOCH_SECONDS
from tests.chaos.processes import Process, descendants, end_all
from tests.small_disk import small_disk
from tests.tracking.conftest import healthy
from tests.tracking.processes import Gate, free_port, start_server, stop_server, wait_until

Kind = Literal["fake", "real"]
REPOSITORY = Path(__file__).parents[2]
DISK_BYTES = 192 * 2**20


def content(kind: Kind, trials: int, epochs: int) -> dict[str, Any]:
    """Returns a sweep file of fake trials, or of small real ones on the embedded digits."""
    trial: dict[str, Any] = {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "epochs": epochs,
        "measurement": {"fraction": 0.5, "estimators": ["lanczos", "exact_trace"]},
    }
    return {"name": f"storm-{kind}", "trial": trial, "grid": {"seed": list(range(trials))}}


@dataclass
class Place:
    """The folder of a storm. Every process names this folder in its command line, or descends from one that does."""

    folder: Path
    kind: Kind
    engine: str
    epoch_seconds: float
    disk: Path
    server: subprocess.Popen[bytes] | None = None
    driver: subprocess.Popen[bytes] | None = None
    gate: Gate | None = None
    family: list[Process] = field(default_factory=list)
    """Every descendant of a driver seen so far."""
    starts: int = 0
    port: int = 0

    @property
    def sweep(self) -> Sweep:
        return load_sweep(str(self.folder / "sweep.yaml"))

    @property
    def storage(self) -> Storage:
        return Storage(self.disk / "results")

    @property
    def twin(self) -> Storage:
        return Storage(self.folder / "twin")

    @property
    def database(self) -> Path:
        return self.folder / "server.db"

    def start_server(self) -> None:
        """Starts the tracker behind a proxy (the gate). The tracker's port stays the same."""
        if self.gate is None:
            self.port = free_port()
            self.gate = Gate(f"http://127.0.0.1:{self.port}")
            self.gate.open()
        self.server = start_server(self.folder, self.port)

    def wait_for_server(self) -> None:
        wait_until(lambda: healthy(f"http://127.0.0.1:{self.port}"), 120)

    def start_driver(self, *, storage: Path | None = None, uri: str | None = None, calm: bool = False) -> None:
        """Starts `hessian-dynamics run` in the background."""
        module = "tests.chaos.fake_run" if self.kind == "fake" else "orchestrator.cli"
        assert self.gate
        command = [sys.executable, "-m", module, "run", str(self.folder / "sweep.yaml")]
        command += ["--storage", str(storage or self.storage.root), "--tracking-uri", uri or self.gate.uri]
        command += ["--engine", "local" if storage else self.engine, "--max-concurrent", "2"]
        command += ["--verify"] if calm else []
        variables = {
            key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
        }
        paths = os.pathsep.join([str(REPOSITORY), *filter(None, [variables.get("PYTHONPATH")])])
        variables |= {"PYTHONPATH": paths, EPOCH_SECONDS: "0" if calm else str(self.epoch_seconds)}
        self.starts += 1
        with (self.folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                command, cwd=self.folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def note_family(self) -> None:
        """Records the descendants of the driver, so that orphans can be killed at the end."""
        if self.driver and self.driver.poll() is None:
            self.family = list({*self.family, *descendants(self.driver.pid)})

    def finish(self, seconds: float) -> None:
        """Finishes the sweep without faults, ships the rest, and runs the undisturbed twin."""
        if self.driver and self.driver.poll() is None:
            self._wait(seconds)
        for _ in range(3):
            self.start_driver(calm=True)
            if self._wait(seconds) == 0:
                break
        else:
            raise AssertionError(f"the sweep does not end: {self.tail()}")
        shipping = [
            sys.executable,
            "-m",
            "orchestrator.cli",
            "ship",
            self.sweep.name,
            "--storage",
            str(self.storage.root),
        ]
        assert self.gate
        done = subprocess.run(
            [*shipping, "--tracking-uri", self.gate.uri],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.start_driver(storage=self.twin.root, uri=f"sqlite:///{self.folder}/twin.db", calm=True)
        assert self._wait(seconds) == 0, self.tail()

    def tail(self) -> str:
        """Returns the last output of the drivers."""
        return (self.folder / "driver.log").read_text()[-3000:]

    def _wait(self, seconds: float) -> int:
        assert self.driver
        deadline = time.monotonic() + seconds
        while self.driver.poll() is None:
            self.note_family()
            if time.monotonic() > deadline:
                raise AssertionError(f"the driver does not end: {self.tail()}")
            time.sleep(0.5)
        return self.driver.returncode


@contextmanager
def place(folder: Path, kind: Kind, engine: str, trials: int, epochs: int, epoch_seconds: float) -> Iterator[Place]:
    """Sets a storm up, and kills all its processes at the end."""
    folder = folder.resolve()
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content(kind, trials, epochs)))
    with small_disk(folder / "disk", DISK_BYTES):
        here = Place(folder, kind, engine, epoch_seconds, folder / "disk")
        try:
            yield here
        finally:
            for process in (here.driver, here.server):
                if process and process.poll() is None:
                    stop_server(process) if process is here.server else process.kill()
                    process.wait()
            end_all(folder, here.family)
            if here.gate:
                here.gate.close()

"""Runs commands on a sweep in a temporary folder."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness.memory import peak_resident_bytes
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep

_NOT_INHERITED = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")  # a benchmark must not use the user's cluster or tracker
_TIMEOUT = 1800


@dataclass(frozen=True)
class FinishedCommand:
    """Exit code, output, wall time and peak memory of a command."""

    code: int
    output: str
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Workplace:
    """A folder with a sweep file, its storage and its tracker database."""

    folder: Path
    name: str

    @property
    def sweep(self) -> Sweep:
        """The sweep in the sweep file."""
        return load_sweep(str(self.folder / f"{self.name}.yaml"))

    @property
    def storage(self) -> Storage:
        """The storage that commands in this folder use by default."""
        return Storage(self.folder / "results")

    def call(self, command: str, *arguments: str) -> FinishedCommand:
        """Runs ``hessian-dynamics COMMAND SWEEP ARGUMENTS`` in this folder, for at most 30 minutes."""
        log, began, peak = self.folder / f"{command}.txt", time.perf_counter(), 0.0
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.cli", command, str(self.folder / f"{self.name}.yaml"), *arguments],
                cwd=self.folder,
                env={key: value for key, value in os.environ.items() if key not in _NOT_INHERITED},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            while process.poll() is None:
                peak = max(peak, peak_resident_bytes(process.pid) / 2**20)
                if time.perf_counter() - began > _TIMEOUT:
                    process.kill()
                time.sleep(0.02)
        return FinishedCommand(process.returncode, log.read_text(), time.perf_counter() - began, peak)


@contextmanager
def workplace(content: dict[str, Any]) -> Iterator[Workplace]:
    """Creates a temporary folder with a sweep file of this content."""
    with tempfile.TemporaryDirectory(prefix="hessian-dynamics-bench-") as scratch:
        place = Workplace(Path(scratch), content["name"])
        (place.folder / f"{place.name}.yaml").write_text(yaml.safe_dump(content))
        yield place

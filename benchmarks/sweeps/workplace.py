"""Calls the command line in a folder of its own, as a user would."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep

_OTHERS = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")  # a user's cluster and tracker are none of a benchmark's business
_TIMEOUT = 900


@dataclass(frozen=True)
class Workplace:
    """A scratch folder with one sweep file, its storage and its tracker."""

    folder: Path
    content: dict[str, Any]

    @property
    def sweep(self) -> Sweep:
        """What the file says."""
        path = self.folder / f"{self.content['name']}.yaml"
        path.write_text(yaml.safe_dump(self.content))
        return load_sweep(str(path))

    @property
    def storage(self) -> Storage:
        """What was computed."""
        return Storage(self.folder / "results")

    def call(self, command: str, *arguments: str) -> tuple[int, str]:
        """Exit code and output of ``hessian-dynamics COMMAND <the sweep> ARGUMENTS``."""
        path = self.folder / f"{self.sweep.name}.yaml"
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", command, str(path), *arguments],
            cwd=self.folder,
            env={key: value for key, value in os.environ.items() if key not in _OTHERS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
        return done.returncode, done.stdout + done.stderr

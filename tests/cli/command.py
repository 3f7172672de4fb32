"""Helpers to run the command-line interface in this process or in a subprocess, and a small sweep to run."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from orchestrator.cli import main

SMALL = {
    "name": "small",
    "trial": {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [20, 10]},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "epochs": 1,
        "measurement": {"fraction": 0.02, "lanczos_products": 2, "algorithm1_iterations": 2, "algorithm1_probes": 2},
    },
    "grid": {"seed": [0, 1]},
}
COMMAND = [str(Path(sys.executable).with_name("hessian-dynamics"))]
_NOT_INHERITED = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "HESSIAN_DYNAMICS_LOG")


@dataclass(frozen=True)
class Done:
    """The result of a command run in this process."""

    returncode: object
    stdout: str
    stderr: str


class Command:
    """Runs commands in this process, in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(folder)
        for name in _NOT_INHERITED:
            monkeypatch.delenv(name, raising=False)
        self.monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str, **environment: str) -> Done:
        self._capfd.readouterr()
        with self.monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(arguments)
        shown = self._capfd.readouterr()
        return Done(ended.value.code or 0, shown.out, shown.err)


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a subprocess."""
    inherited = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )


def write(folder: Path, content: object, name: str = "small.yaml") -> str:
    (folder / name).write_text(yaml.safe_dump(content) if not isinstance(content, str) else content)
    return str(folder / name)

"""Results of benchmarks, stored as JSON: raw samples with machine, versions and commit."""

import json
import platform
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import Machine

RESULTS = Path(__file__).parents[1] / "results"
_PACKAGES = (
    "torch", "torchvision", "PyHessian", "hessian-eigenthings", "curvlinops-for-pytorch",
    "backpack-for-pytorch", "ray", "mlflow",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    benchmark: str
    date: str
    commit: str | None
    """Commit of this project, with the suffix ``-dirty`` if the working tree had changes."""
    scale: str
    data: str
    versions: dict[str, str]
    machine: Machine
    measured: dict[str, Any]
    """Raw samples, in seconds unless named otherwise, and the parameters of the measurement."""

    @property
    def file_name(self) -> str:
        """File name of the result, the same for all runs of a benchmark on a machine."""
        return f"{self.benchmark}-{self.machine.slug}.json"

    @property
    def figure_name(self) -> str:
        return self.file_name.replace(".json", ".svg")

    @property
    def source(self) -> str:
        """Machine, versions, data, date and commit in one line."""
        torch = self.versions.get("torch", "?")
        commit = (self.commit or "none")[:7] + ("-dirty" if (self.commit or "").endswith("-dirty") else "")
        return f"{self.machine}; torch {torch}; {self.data}; {self.date[:10]}, commit {commit}"

    def version(self, library: str) -> str:
        """Version of a library that is published as ``NAME`` or ``NAME-for-pytorch``; empty if it was not installed."""
        return self.versions.get(library) or self.versions.get(f"{library}-for-pytorch", "")


def write(result: Result, folder: Path) -> Path:
    """Writes a result, replacing an earlier one of the same benchmark and machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    path.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return path


def read(path: Path) -> Result:
    """Reads a result written by `write`.

    Raises:
        ValueError: the file is not a result.
    """
    content = json.loads(path.read_text())
    missing = [f.name for f in fields(Result) if f.name not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: run the benchmark again, or delete the file")
    return Result(**{**content, "machine": Machine(**content["machine"])})


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that are measured."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

"""What a benchmark leaves behind: its raw samples, with the machine, the versions and the commit they come from."""

import json
import platform
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import Machine, describe, described_again
from benchmarks.harness.settings import Settings, say
from orchestrator.store.provenance.provenance import capture

RESULTS = Path(__file__).parents[1] / "results"
_PACKAGES = (
    "torch", "torchvision", "PyHessian", "hessian-eigenthings", "curvlinops-for-pytorch",
    "backpack-for-pytorch", "ray", "mlflow",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One benchmark on one machine."""

    benchmark: str
    date: str
    commit: str | None
    """Of this project; with ``-dirty`` where the work tree differed."""
    scale: str
    data: str
    versions: dict[str, str]
    machine: Machine
    measured: dict[str, Any]
    """Raw samples, in seconds where nothing else is said, and how they were taken."""

    @property
    def file_name(self) -> str:
        """One file a benchmark and machine: a later run takes the place of the earlier."""
        return f"{self.benchmark}-{self.machine.slug}.json"

    @property
    def source(self) -> str:
        """Where the numbers come from, in a line."""
        torch = self.versions.get("torch", "?")
        commit = (self.commit or "none")[:7] + ("-dirty" if (self.commit or "").endswith("-dirty") else "")
        return f"{self.machine}; torch {torch}; {self.data}; {self.date[:10]}, commit {commit}"


def begin(benchmark: str, settings: Settings) -> Machine:
    """Says what begins, and describes the machine."""
    machine = describe(settings.threads, settings.scale, settings.device)
    say(f"\n{benchmark}: {machine}, load {machine.load:.1f}")
    return machine


def finish(
    benchmark: str, settings: Settings, machine: Machine, measured: dict[str, Any], ended: bool = True
) -> Result:
    """The result of a benchmark that has just ended, or of what it has measured so far."""
    return Result(
        benchmark=benchmark,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=capture().commit,
        scale=settings.scale,
        data=settings.data_name,
        versions=_versions(),
        machine=described_again(machine, settings.scale, settings.device) if ended else machine,
        measured=measured,
    )


def stored_measurements(benchmark: str, settings: Settings, machine: Machine) -> dict[str, Any]:
    """What earlier pieces of a benchmark have measured on this machine at full scale; nothing where all is run anew."""
    path = RESULTS / f"{benchmark}-{machine.slug}.json"
    return dict(read(path).measured) if settings.only and settings.scale == "full" and path.exists() else {}


def write(result: Result, folder: Path) -> Path:
    """Writes a result, in place of the last one of this benchmark on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    path.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return path


def read(path: Path) -> Result:
    """The inverse of `write`.

    Raises:
        ValueError: where the file is no result.
    """
    content = json.loads(path.read_text())
    missing = [f.name for f in fields(Result) if f.name not in content]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}: run its benchmark again, or delete it")
    return Result(**{**content, "machine": Machine(**content["machine"])})


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

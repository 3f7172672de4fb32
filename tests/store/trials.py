"""Commits and remeasurements of one trial, and damage to its checkpoints."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.trial import TrialStore
from tests.store.stored import checkpoint, config, record, remeasured

DIGEST = "d" * 64
LABEL = "fraction-0.5"


def commit(trial: TrialStore, *epochs: int, by: str = "first", keep: Callable[[int], bool] = lambda e: False) -> None:
    for epoch in epochs:
        assert trial.commit(record(epoch), checkpoint(epoch), DIGEST, by, keep(epoch))


def measure(trial: TrialStore, *epochs: int, label: str = LABEL) -> None:
    for epoch in epochs:
        assert trial.remeasurements.add(label, remeasured(epoch))


def every(step: int) -> Callable[[int], bool]:
    return lambda epoch: epoch % step == 0


def kept(files: DiskFiles) -> list[int]:
    return [int(name[:5]) for name in checkpoints(files)]


def checkpoints(files: DiskFiles) -> list[str]:
    return files.list(f"trials/{config().trial_id}/checkpoints")


def path_of(files: DiskFiles, epoch: int) -> Path:
    (name,) = [name for name in checkpoints(files) if name.startswith(f"{epoch:05d}-")]
    return files.root / "trials" / config().trial_id / "checkpoints" / name


def damage_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_length(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_all(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [damage_content, damage_length, damage_all, Path.unlink]

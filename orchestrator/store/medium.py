"""What a folder lies on: whether it can be written as the store needs it, the kind of file system, the room left."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import StorageError

LITTLE_BYTES = 2**30
"""Some hundred checkpoints of the paper's network."""


@dataclass(frozen=True)
class Medium:
    """A place that can be written."""

    exists: bool
    """Whether the folder is there; if not, it can be made."""
    file_system: str
    """``ext4``, ``nfs4``, ...; ``unknown`` where the system does not tell."""
    free_bytes: int | None
    """None where there is no limit to speak of."""

    @property
    def little(self) -> bool:
        """Whether there is little room left."""
        return self.free_bytes is not None and self.free_bytes < LITTLE_BYTES

    def __str__(self) -> str:
        made = "" if self.exists else ", will be made"
        free = "" if self.free_bytes is None else f", {self.free_bytes / 2**30:,.1f} GiB free"
        return f"writable{made}{free}, {self.file_system}"


def examine_storage(files: FileSystem) -> Medium:
    """Tries all that the store does where a storage lies, and leaves it as it was.

    Raises:
        StorageError: where it cannot be written, or lets two writers create one file.
    """
    if isinstance(files.root, Path):
        return examine(files.root)
    files.check_writable()
    return Medium(True, "S3", None)


def examine(folder: Path) -> Medium:
    """Tries all that the store does in a folder, in a scratch folder that is removed again.

    A folder that does not exist is not made: the one above it is tried.

    Raises:
        StorageError: where it cannot be written, or the file system cannot create a file exclusively.
    """
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".hessian-dynamics-", dir=place) as scratch:
            _try(DiskFiles(Path(scratch)))
    except OSError as error:
        reason = error if isinstance(error, StorageError) else f"{place} cannot be written ({error.strerror or error})"
        raise StorageError(f"{reason}; a folder on a local disk or NFS that is yours will do") from None
    return Medium(folder.is_dir(), file_system(place), shutil.disk_usage(place).free)


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The kind of file system a path lies on."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = path.resolve()
    # The space of a mount point is written as an octal escape. Of two mounts on one point the later one is seen.
    points = [(Path(fields[1].replace("\\040", " ")), fields[2]) for fields in lines if len(fields) > 2]
    above = [
        (len(point.parts), number, kind)
        for number, (point, kind) in enumerate(points)
        if resolved.is_relative_to(point)
    ]
    return max(above)[2] if above else "unknown"


def _try(files: DiskFiles) -> None:
    files.check_writable()
    if not files.create("once", b"1") or files.create("once", b"2") or files.read("once") != b"1":
        raise StorageError(f"{files.root}: the file system lets two writers create one file, so epochs could be lost")

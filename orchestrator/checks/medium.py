"""Checks that a folder or bucket supports the operations of the store. Reports its file system and free space."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.errors import StorageError

LOW_SPACE_BYTES = 2**30
"""Between 90 (Adam) and 270 (SGD) checkpoints of the paper's network."""


@dataclass(frozen=True)
class Medium:
    """The file system of a writable folder, or a bucket."""

    exists: bool
    """False if the folder does not exist yet but can be created."""
    file_system: str
    """``ext4``, ``nfs4``, ...; ``unknown`` if it cannot be determined."""
    free_bytes: int | None
    """None for a bucket."""

    @property
    def low_space(self) -> bool:
        """Whether less than 1 GiB is free."""
        return self.free_bytes is not None and self.free_bytes < LOW_SPACE_BYTES

    def __str__(self) -> str:
        created = "" if self.exists else ", will be created"
        free = "" if self.free_bytes is None else f", {self.free_bytes / 2**30:,.1f} GiB free"
        return f"writable{created}{free}, {self.file_system}"


def storage_medium(files: FileSystem) -> Medium:
    """Tests the operations of the store on a storage, and returns its medium. Leaves no files behind.

    Raises:
        StorageError: if the storage is not writable, or two writers can both create the same file.
    """
    if isinstance(files.root, Path):
        return folder_medium(files.root)
    files.check_writable()
    return Medium(True, "S3", None)


def folder_medium(folder: Path) -> Medium:
    """Tests the operations of the store in a temporary subfolder, and returns the medium of the folder.

    If the folder does not exist, its nearest existing parent is tested.

    Raises:
        StorageError: if the folder is not writable, or the file system cannot create files exclusively.
    """
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".hessian-dynamics-", dir=nearest) as scratch:
            _check_exclusive_creation(DiskFiles(Path(scratch)))
    except OSError as error:
        reason = (
            error if isinstance(error, StorageError) else f"{nearest} cannot be written ({error.strerror or error})"
        )
        raise StorageError(f"{reason}; use a folder you can write to, on a local disk or NFS") from None
    return Medium(folder.is_dir(), file_system(nearest), shutil.disk_usage(nearest).free)


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Returns the type of the file system that contains a path."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = path.resolve()
    # A space in a mount point is written as an octal escape.
    points = [(Path(fields[1].replace("\\040", " ")), fields[2]) for fields in lines if len(fields) > 2]
    above = [
        (len(point.parts), number, kind)  # of several mounts at one path, the last one is visible
        for number, (point, kind) in enumerate(points)
        if resolved.is_relative_to(point)
    ]
    return max(above)[2] if above else "unknown"


def _check_exclusive_creation(files: FileSystem) -> None:
    files.check_writable()
    if not files.create("once", b"1") or files.create("once", b"2") or files.read("once") != b"1":
        raise StorageError(f"{files.root}: two writers can both create the same file, so records could be lost")

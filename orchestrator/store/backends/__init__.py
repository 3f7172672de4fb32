"""The storage on a disk or in an S3 bucket, behind one set of file operations."""

from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.backends.location import locate
from orchestrator.store.errors import StorageError


def files_at(place: str | Path) -> FileSystem:
    """What reads and writes a folder, or a place in a bucket, ``s3://BUCKET/PREFIX``.

    Raises:
        StorageError: where it is neither.
    """
    root = locate(place)
    if isinstance(root, Path):
        return DiskFiles(root)
    try:
        from orchestrator.store.backends.s3 import S3Files  # s3fs, only where it is needed
    except ModuleNotFoundError as error:
        raise StorageError(f"storage {root}: {error}; pip install 'hessian-dynamics[sweep]'") from None
    return S3Files(root)

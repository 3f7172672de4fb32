"""Backends of the storage: a disk or an S3 bucket, behind one protocol of file operations."""

from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.backends.location import locate
from orchestrator.store.errors import StorageError


def files_at(place: str | Path) -> FileSystem:
    """Returns the backend of a folder, or of a place in a bucket, ``s3://BUCKET/PREFIX``.

    Raises:
        StorageError: the place is neither, or the libraries for S3 are not installed.
    """
    root = locate(place)
    if isinstance(root, Path):
        return DiskFiles(root)
    try:
        from orchestrator.store.backends.s3 import S3Files  # s3fs is imported only if needed
    except ModuleNotFoundError as error:
        raise StorageError(f"storage {root}: {error}; pip install 'hessian-dynamics[sweep]'") from None
    return S3Files(root)

"""Storage backends for a disk and for an S3 bucket. Both implement one protocol of file operations."""

from pathlib import Path

from orchestrator.store.backends.disk import DiskFiles
from orchestrator.store.backends.file_system import FileSystem
from orchestrator.store.backends.location import locate
from orchestrator.store.errors import StorageError


def files_at(location: str | Path) -> FileSystem:
    """Returns the backend for a folder, or for an S3 location ``s3://BUCKET/PREFIX``.

    Raises:
        StorageError: the location is neither, or the libraries for S3 are not installed.
    """
    root = locate(location)
    if isinstance(root, Path):
        return DiskFiles(root)
    try:
        from orchestrator.store.backends.s3 import S3Files  # s3fs is imported only if needed
    except ModuleNotFoundError as error:
        raise StorageError(f"storage {root}: {error}; pip install 'hessian-dynamics[sweep]'") from None
    return S3Files(root)

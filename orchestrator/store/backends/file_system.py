"""The file operations that a storage is built on, implemented by a disk and by S3."""

from pathlib import Path
from typing import Protocol

from orchestrator.store.backends.location import S3Location


class FileSystem(Protocol):
    """Files below one root, named by relative paths. A reader sees a file whole or not at all.

    Every method raises StorageError, with the path and the reason, if the file system fails or a name leads out.
    """

    @property
    def root(self) -> Path | S3Location:
        """The root; `/` extends it to a full path, for messages."""

    @property
    def local(self) -> Path:
        """The folder of this machine for the logs and reports of the storage."""

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Creates or replaces a file. It is durable when the method returns."""

    def create(self, name: str, content: bytes) -> bool:
        """Creates a file. Returns False, and changes nothing, if it exists: of two writers one wins."""

    def write_in_place(self, name: str, content: bytes) -> None:
        """Writes a file that is not read before another file names it. It is durable when the method returns.

        Not atomic: a crash may leave a part of it, so the file that names it must hold its digest.
        """

    def delete(self, name: str) -> None:
        """Deletes a file; does nothing if there is none."""

    def list(self, folder: str) -> list[str]:
        """Returns the current names in a folder, sorted, without hidden ones; empty if the folder does not exist."""

    def age(self, name: str) -> float | None:
        """Returns the seconds since a file was written, by the clock of the storage; None if there is none."""

    def check_writable(self) -> None:
        """Creates and deletes a small file by the operations that a commit needs."""

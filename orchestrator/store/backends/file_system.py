"""The protocol of file operations that the storage backends implement."""

from pathlib import Path
from typing import Protocol

from orchestrator.store.backends.location import S3Location


class FileSystem(Protocol):
    """Files below a root, named by relative paths. Readers see no partial file, except from `write_in_place`.

    Every method raises a StorageError with the path and the reason if the file system fails or a path leads outside
    the root.
    """

    @property
    def root(self) -> Path | S3Location:
        """The root. ``root / name`` is the full path of a file, for messages."""

    @property
    def local(self) -> Path:
        """The local folder for the logs and reports that belong to the storage."""

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if the file does not exist."""

    def write(self, name: str, content: bytes) -> None:
        """Creates or replaces a file. It is durable when the method returns."""

    def create(self, name: str, content: bytes) -> bool:
        """Creates a file. If it exists, changes nothing and returns False. Only one of several writers succeeds."""

    def write_in_place(self, name: str, content: bytes) -> None:
        """Writes a file that nobody reads until another file refers to it. It is durable when the method returns.

        Not atomic: a crash may leave a partial file, so the referring file must contain its digest.
        """

    def delete(self, name: str) -> None:
        """Deletes a file; does nothing if it does not exist."""

    def list(self, folder: str) -> list[str]:
        """Returns the sorted names of the entries of a folder that are not hidden; empty if there is no folder."""

    def age(self, name: str) -> float | None:
        """Returns the age of a file in seconds, by the clock of the storage; None if the file does not exist."""

    def check_writable(self) -> None:
        """Checks that `create` and `delete`, which store records, work: with a small file."""

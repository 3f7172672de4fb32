"""The file operations that a storage is built of: a protocol for a disk and for S3."""

from pathlib import Path
from typing import Protocol

from orchestrator.store.backends.location import S3Location


class FileSystem(Protocol):
    """Files below one place, named by relative paths. A reader sees a file whole or not at all.

    Every method raises StorageError, naming the place and the reason, where the medium fails or a name would lead out.
    """

    @property
    def root(self) -> Path | S3Location:
        """The place; `/` gives what lies in it, for messages."""

    @property
    def local(self) -> Path:
        """Where logs and reports of this storage lie on this machine."""

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file, or makes it; durable when it returns."""

    def create(self, name: str, content: bytes) -> bool:
        """Makes a file that did not exist. False, and nothing changed, where it does: of two writers one wins."""

    def write_in_place(self, name: str, content: bytes) -> None:
        """Makes a file that nobody looks for before something else names it; durable when it returns.

        A crash may leave it in part: whoever names it says its digest too.
        """

    def delete(self, name: str) -> None:
        """Removes a file; nothing happens where there is none."""

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted, as they are now, without hidden ones; empty where there is no such folder."""

    def age(self, name: str) -> float | None:
        """Seconds since a file was last written, by the storage's own clock; None where there is none."""

    def check_writable(self) -> None:
        """Makes and removes a small file by all that a commit needs."""

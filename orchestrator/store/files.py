"""Five verbs on files, each of them atomic and durable: all the store is built of."""

import os
import tempfile
from pathlib import Path

_SCRATCH = ".partial"


class StorageError(OSError):
    """The storage cannot be read or written; the message says which path and why."""


class Files:
    """Files below one folder, named by relative paths. A reader sees a file whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file, or makes it."""
        target = self._folder_of(name)
        scratch = self._scratch(content)
        os.replace(scratch, target)
        _sync(target.parent)

    def create(self, name: str, content: bytes) -> bool:
        """Makes a file that did not exist. False, and nothing changed, where it does: of two writers one wins."""
        target = self._folder_of(name)
        scratch = self._scratch(content)
        try:
            os.link(scratch, target)
        except FileExistsError:
            return False
        finally:
            scratch.unlink()
        _sync(target.parent)
        return True

    def delete(self, name: str) -> None:
        """Removes a file; nothing happens where there is none."""
        (self.root / name).unlink(missing_ok=True)

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no such folder."""
        try:
            return sorted(os.listdir(self.root / folder))
        except FileNotFoundError:
            return []

    def check_writable(self) -> None:
        """Writes and removes a small file.

        Raises:
            StorageError: naming the folder and the reason.
        """
        try:
            self.write(f"{_SCRATCH}/probe", b"")
            self.delete(f"{_SCRATCH}/probe")
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(
                f"storage {str(self.root)!r} cannot be written ({reason}); "
                "give a folder you may write to with --storage, or make room there"
            ) from None

    def _folder_of(self, name: str) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _scratch(self, content: bytes) -> Path:
        folder = self.root / _SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            os.unlink(path)
            raise
        return Path(path)


def _sync(folder: Path) -> None:
    """Makes a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

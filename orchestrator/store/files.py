"""Five verbs on files, each of them atomic and durable: all the store is built of."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCRATCH = ".partial"
_ABANDONED_SECONDS = 24 * 3600.0
"""Nothing takes that long to write: what is left of a writer that was killed."""


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
        except OSError as error:
            raise self._unreadable(name, error) from None

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file, or makes it."""
        with self._writing():
            target = self._folder_of(name)
            scratch = self._scratch(content)
            os.replace(scratch, target)
            _sync(target.parent)

    def create(self, name: str, content: bytes) -> bool:
        """Makes a file that did not exist. False, and nothing changed, where it does: of two writers one wins."""
        with self._writing():
            target = self._folder_of(name)
            scratch = self._scratch(content)
            try:
                os.link(scratch, target)
            except FileExistsError:
                # NFS repeats a request whose answer was lost: then the file in our way is our own.
                if scratch.stat().st_nlink == 1:
                    return False
            finally:
                scratch.unlink()
            _sync(target.parent)
            return True

    def delete(self, name: str) -> None:
        """Removes a file; nothing happens where there is none."""
        with self._writing():
            (self.root / name).unlink(missing_ok=True)

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no such folder. Hidden files are none of ours.

        NFS leaves ``.nfs...`` where a file was deleted while open, macOS leaves ``.DS_Store``.
        """
        try:
            return sorted(name for name in os.listdir(self.root / folder) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(folder, error) from None

    def check_writable(self) -> None:
        """Makes and removes a small file by all that a commit needs, and removes what killed writers left long ago.

        Raises:
            StorageError: naming the folder and the reason.
        """
        probe = f"{_SCRATCH}/probe-{secrets.token_hex(8)}"
        self.create(probe, b"an empty file would fit on a full disk")
        self.delete(probe)
        with self._writing():
            self._remove_abandoned()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(
                f"storage {str(self.root)!r} cannot be written ({reason}); "
                "give a folder you may write to with --storage, or make room there"
            ) from None

    def _unreadable(self, name: str, error: OSError) -> StorageError:
        return StorageError(f"{self.root / name} cannot be read ({error.strerror or error}); check --storage")

    def _remove_abandoned(self) -> None:
        for path in (self.root / _SCRATCH).iterdir():
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
            except FileNotFoundError:  # another process is tidying up too, or has just finished writing
                continue

    def _folder_of(self, name: str) -> Path:
        target = self.root / name
        _make(target.parent)
        return target

    def _scratch(self, content: bytes) -> Path:
        folder = self.root / _SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / secrets.token_hex(8)
        # Not a temporary file of Python's, which only its owner may read: storage is shared, the umask decides.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            path.unlink()
            raise
        return path


def _make(folder: Path) -> None:
    """Makes a folder and those above it, each as durable as what will lie in it."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    """Makes a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""A few verbs on files, durable and all but one atomic: all the store is built of."""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.store.errors import StorageError as StorageError
from orchestrator.store.names import valid_path

_SCRATCH = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ABANDONED_SECONDS = 24 * 3600.0
"""Nothing takes that long to write: what is left of a writer that was killed."""


class DiskFiles:
    """Files below one folder of a disk or NFS."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.local = root

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None where there is none."""
        path = self.root / valid_path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(name, error) from None

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file, or makes it."""
        with self._writing(len(content)):
            target = self._folder_of(name)
            scratch = self._scratch(content)
            os.replace(scratch, target)
            _sync(target.parent)

    def create(self, name: str, content: bytes) -> bool:
        """Makes a file that did not exist. False, and nothing changed, where it does: of two writers one wins."""
        with self._writing(len(content)):
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

    def write_in_place(self, name: str, content: bytes) -> None:
        """Makes a file that nobody looks for before something else names it.

        A power cut could take its name from it, which writing what names it makes durable on the file systems we know.
        """
        with self._writing(len(content)):
            _write(self._folder_of(name), content, os.O_TRUNC)

    def delete(self, name: str) -> None:
        """Removes a file; nothing happens where there is none."""
        with self._writing():
            (self.root / valid_path(name)).unlink(missing_ok=True)

    def list(self, folder: str) -> list[str]:
        """The names in a folder, sorted; empty where there is no such folder. Hidden files are none of ours.

        NFS leaves ``.nfs...`` where a file was deleted while open, macOS leaves ``.DS_Store``.
        """
        path = self.root / valid_path(folder) if folder else self.root
        try:
            return sorted(name for name in os.listdir(path) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(folder, error) from None

    def age(self, name: str) -> float | None:
        """Seconds since a file was last written, by the clock that stamps files there; None where there is none.

        Opened, since NFS answers a mere look at the time from a cache.
        """
        path = self.root / valid_path(name)
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(name, error) from None
        try:
            written = os.fstat(handle).st_mtime
        finally:
            os.close(handle)
        return max(0.0, self._now() - written)

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
    def _writing(self, size: int = 0) -> Iterator[None]:
        """Says what is wrong where it cannot be written; `size` in bytes is what was to be."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            fix = "give a folder you may write to with --storage, or make room there"
            if error.errno in _FULL:
                reason += f": {size:,} bytes were to be written{self._free()}"
                fix = "make room there, and the same command goes on; what is finished is kept"
            raise StorageError(f"storage {str(self.root)!r} cannot be written ({reason}); {fix}") from None

    def _free(self) -> str:
        try:
            return f", {shutil.disk_usage(self.root).free:,} are free"
        except OSError:
            return ""

    def _unreadable(self, name: str, error: OSError) -> StorageError:
        return StorageError(f"{self.root / name} cannot be read ({error.strerror or error}); check --storage")

    def _remove_abandoned(self) -> None:
        for path in (self.root / _SCRATCH).iterdir():
            try:
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
            except FileNotFoundError:  # another process is tidying up too, or has just finished writing
                continue

    def _now(self) -> float:
        """What a file made now is stamped with; this machine's time where none can be made."""
        path = self.root / _SCRATCH / secrets.token_hex(8)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError:
            return time.time()
        try:
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)

    def _folder_of(self, name: str) -> Path:
        target = self.root / valid_path(name)
        _make(target.parent)
        return target

    def _scratch(self, content: bytes) -> Path:
        folder = self.root / _SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / secrets.token_hex(8)
        _write(path, content, os.O_EXCL)
        return path


def _write(path: Path, content: bytes, flag: int) -> None:
    """Makes a file, durable but for its name; leaves none where that fails."""
    # Not a temporary file of Python's, which only its owner may read: storage is shared, the umask decides.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink()
        raise


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

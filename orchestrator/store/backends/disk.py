"""A storage in a folder of a local disk or NFS."""

import errno
import itertools
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.store.errors import StorageError
from orchestrator.store.names import valid_path

_SCRATCH = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ABANDONED_SECONDS = 24 * 3600.0
"""No write takes this long: an older scratch file was left by a killed writer."""


class DiskFiles:
    """Files below one folder of a disk or NFS. `FileSystem` documents the methods."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.local = root

    def read(self, name: str) -> bytes | None:
        path = self.root / valid_path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(name, error) from None

    def write(self, name: str, content: bytes) -> None:
        with self._writing(len(content)):
            target = self._prepare(name)
            os.replace(self._scratch(content), target)
            _sync(target.parent)

    def create(self, name: str, content: bytes) -> bool:
        with self._writing(len(content)):
            target = self._prepare(name)
            scratch = self._scratch(content)
            try:
                os.link(scratch, target)
            except FileExistsError:
                # NFS repeats a request whose answer was lost. A second link shows that the existing file is our own.
                if scratch.stat().st_nlink == 1:
                    return False
            finally:
                scratch.unlink()
            _sync(target.parent)
            return True

    def write_in_place(self, name: str, content: bytes) -> None:
        # The folder is not synced: a power cut could lose the name of the file, but writing the file that names it
        # makes both durable on common file systems.
        with self._writing(len(content)):
            _write(self._prepare(name), content, os.O_TRUNC)

    def delete(self, name: str) -> None:
        with self._writing():
            (self.root / valid_path(name)).unlink(missing_ok=True)

    def list(self, folder: str) -> list[str]:
        # NFS leaves the hidden file .nfs... for a file deleted while open, macOS leaves .DS_Store.
        path = self.root / valid_path(folder) if folder else self.root
        try:
            return sorted(name for name in os.listdir(path) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(folder, error) from None

    def age(self, name: str) -> float | None:
        path = self.root / valid_path(name)
        try:
            handle = os.open(path, os.O_RDONLY)  # NFS answers a mere stat from its cache
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
        """Creates and deletes a small file, and deletes what killed writers left more than a day ago.

        Raises:
            StorageError: the folder cannot be written; the message names it and the reason.
        """
        probe = f"{_SCRATCH}/probe-{secrets.token_hex(8)}"
        self.create(probe, b"an empty file would fit on a full disk")
        self.delete(probe)
        with self._writing():
            self._remove_abandoned()

    @contextmanager
    def _writing(self, size: int = 0) -> Iterator[None]:
        """Explains errors of writing `size` bytes."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            fix = "choose a folder you may write to with --storage, or free space there"
            if error.errno in _FULL:
                reason += f": {size:,} bytes were to be written{self._free()}"
                fix = "free space there and run the same command again; what is finished is kept"
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
            except FileNotFoundError:  # another process has removed it, or has just finished writing
                continue

    def _now(self) -> float:
        """The current time of the file system; that of this machine if no file can be created."""
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

    def _prepare(self, name: str) -> Path:
        """Creates the folder of a file, and returns the path of the file."""
        target = self.root / valid_path(name)
        missing = itertools.takewhile(lambda folder: not folder.is_dir(), target.parents)
        for folder in reversed(list(missing)):
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)
        return target

    def _scratch(self, content: bytes) -> Path:
        folder = self.root / _SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / secrets.token_hex(8)
        _write(path, content, os.O_EXCL)
        return path


def _write(path: Path, content: bytes, flag: int) -> None:
    """Writes a file, durable except for its name; leaves none if that fails."""
    # Python's temporary files are readable by their owner only. A storage is shared, so the umask decides.
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | flag, 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink()
        raise


def _sync(folder: Path) -> None:
    """Makes new names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

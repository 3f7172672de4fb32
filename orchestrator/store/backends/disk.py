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
"""No write takes this long, so an older scratch file was left behind by a killed writer."""


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
                # If a reply is lost, NFS repeats the request, and the repeated request fails. A link count above 1
                # shows that the first request succeeded.
                if scratch.stat().st_nlink == 1:
                    return False
            finally:
                scratch.unlink()
            _sync(target.parent)
            return True

    def write_in_place(self, name: str, content: bytes) -> None:
        # The folder is not synced, so a power failure could lose the directory entry of this file. On common file
        # systems, writing the file that refers to it makes both durable.
        with self._writing(len(content)):
            _write(self._prepare(name), content, os.O_TRUNC)

    def delete(self, name: str) -> None:
        with self._writing():
            (self.root / valid_path(name)).unlink(missing_ok=True)

    def list(self, folder: str) -> list[str]:
        # Hidden files are not ours: NFS renames a file that is deleted while open to .nfs..., macOS adds .DS_Store.
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
            handle = os.open(path, os.O_RDONLY)  # on NFS, stat alone may return cached times
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
        """Creates and deletes a small file. Also deletes scratch files that killed writers left over a day ago.

        Raises:
            StorageError: the folder is not writable; the message gives the path and the reason.
        """
        probe = f"{_SCRATCH}/probe-{secrets.token_hex(8)}"
        self.create(probe, b"an empty file would fit on a full disk")
        self.delete(probe)
        with self._writing():
            self._remove_abandoned()

    @contextmanager
    def _writing(self, size: int = 0) -> Iterator[None]:
        """Converts an OSError raised while writing `size` bytes to a StorageError that suggests a fix."""
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
        """The time by the clock of the file system, or by the local clock if no file can be created."""
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
        """Creates the parent folders of a file. Returns the path of the file."""
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
    """Writes and syncs a file, but does not sync its directory entry. Deletes the file if writing fails."""
    # Not `tempfile`, which creates files that only their owner can read. A storage is shared, so the umask applies.
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
    """Syncs the entries of a folder, so that new files survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

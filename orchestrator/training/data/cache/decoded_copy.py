"""Decoded data sets on this machine's disk. Processes map them into memory and share one copy.

A decoded set is a folder of plain arrays and `meta.json`. It is written to a scratch folder and then renamed, so it is
complete or absent. On each machine one process decodes while the others wait. On a file system without locks, several
processes may decode at the same time. Their copies are identical, and the first to finish is kept. Every process checks
the digests of files up to 4 GiB before it uses them.
"""

import errno
import functools
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TypeVar

import torch
from torch import Tensor

from orchestrator.training.data import split
from orchestrator.training.data.cache.exclusive_lock import exclusive_lock
from orchestrator.training.data.samples import DataError

Found = TypeVar("Found")

CACHE_VARIABLE = "HESSIAN_DYNAMICS_CACHE"
_LAYOUT = 3
"""Version of the file layout. Copies with a different version are not read."""
_LARGEST_DIGESTED = 4 * 2**30
"""Maximum file size, in bytes, for checking the digest, which takes every process about a second per gigabyte."""
_ZEROS = bytes(2**20)


def cache_folder() -> Path:
    """Returns the folder of decoded and downloaded data: $HESSIAN_DYNAMICS_CACHE, or ~/.cache/hessian-dynamics."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "hessian-dynamics")


def decoded_folder(name: str, content: str) -> Path:
    """Returns the folder of a data set's decoded copy. `content` distinguishes data sets of the same name."""
    drawn = split.SPLIT_SEED, split.VALIDATION_FRACTION, split.OOD_STANDARD_DEVIATION
    key = hashlib.sha256(json.dumps([*_made_by(), *drawn, content]).encode()).hexdigest()
    return cache_folder() / f"decoded-{name}-{key[:16]}"


def _made_by() -> tuple[int, str]:
    # A different torch version may draw a different split and different noise.
    return _LAYOUT, torch.__version__.split("+")[0]


def earlier_copies() -> list[Path]:
    """Returns the decoded copies made by other versions. This version neither reads nor removes them."""
    return [folder for folder in sorted(cache_folder().glob("decoded-*")) if _maker(folder) != [*_made_by()]]


def _maker(folder: Path) -> object:
    try:
        return json.loads((folder / "meta.json").read_text()).get("made_by")
    except (OSError, ValueError, AttributeError):
        return None


def is_decoded(folder: Path) -> bool:
    """Returns whether the decoded copy exists. A copy that exists is complete."""
    return (folder / "meta.json").exists()


def decoded_digest(folder: Path) -> str | None:
    """Returns the digest of the data in a decoded copy; None if there is no readable copy."""
    try:
        digest: str = json.loads((folder / "meta.json").read_text())["digest"]
    except (OSError, ValueError, LookupError):
        return None
    return digest


def decode_once(folder: Path, write: Callable[[Path, Path], None]) -> None:
    """Creates the decoded copy of a data set in a folder, unless it exists.

    Args:
        folder: as returned by `decoded_folder`.
        write: function that writes the copy into its first argument, an empty folder, and ends with `finish`. Its
            second argument is a scratch folder for unpacked files.

    Raises:
        DataError: if the copy cannot be written.
        Exception: if `write` raises it.
    """
    try:
        if not is_decoded(folder):
            with exclusive_lock(folder.parent / f".{folder.name}.lock", f"decoding data into {folder}") as locked:
                if not is_decoded(folder):
                    _decode(folder, write, locked)
    except OSError as error:
        raise DataError(
            f"the data cannot be decoded into {str(folder.parent)!r} ({error}); "
            f"free space or fix permissions there, or set {CACHE_VARIABLE} to another folder"
        ) from None


def finish(folder: Path, meta: dict[str, Any]) -> None:
    """Writes the description of a copy, with the digests of its files, and makes all files read-only."""
    files = {path.name: _file_digest(path) for path in sorted(folder.iterdir())}
    write_file(folder / "meta.json", [json.dumps({**meta, "made_by": _made_by(), "files": files}).encode()])
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode & ~0o222)


def read_copy(folder: Path, build: Callable[[dict[str, Any]], Found]) -> Found:
    """Returns what a function builds from the description of a decoded copy, after checking the copy's files.

    Raises:
        DataError: if the copy is damaged.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        _check_digests(folder, meta["files"])
        return build(meta)
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise DataError(
            f"the decoded copy {str(folder)!r} is damaged ({error}); remove that folder and run again"
        ) from None


def check_free_space(folder: Path, needed: int) -> None:
    """Raises OSError if a folder's disk has less free space than a copy needs, in bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")


def write_zeros(path: Path, size: int) -> None:
    """Writes a file of zeros. On a full disk this raises, but writing to a memory map would kill the process."""
    write_file(path, (_ZEROS[: size - start] for start in range(0, size, len(_ZEROS))))


def _decode(folder: Path, write: Callable[[Path, Path], None], locked: bool) -> None:
    # Remove only scratch folders of this machine. Other machines may be decoding, since locks may not be shared.
    prefix = f".decoding-{folder.name}-{platform.node()}-"
    for abandoned in folder.parent.glob(f"{prefix}*") if locked else ():  # left by a killed process
        shutil.rmtree(abandoned, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        unpacked, complete = Path(scratch, "unpacked"), Path(scratch, "complete")
        unpacked.mkdir()
        complete.mkdir()
        write(complete, unpacked)
        try:
            complete.rename(folder)
        except OSError:
            # Without locks, another process may have finished first. Its copy is identical.
            if not is_decoded(folder):
                raise


def write_file(path: Path, content: Iterable[bytes]) -> None:
    """Writes a file that survives a power failure."""
    with path.open("wb") as file:
        file.writelines(content)
        make_durable(file)


def make_durable(file: BinaryIO) -> None:
    """Waits until the content of a file is on the disk."""
    # Otherwise a power failure could leave a renamed folder with incomplete files.
    file.flush()
    os.fsync(file.fileno())


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_digests(folder: Path, digests: dict[str, str]) -> None:
    for name, digest in digests.items():
        status = (folder / name).stat()
        version = status.st_size, status.st_mtime_ns, status.st_ino
        if status.st_size <= _LARGEST_DIGESTED and _digest_once(folder / name, version) != digest:
            raise ValueError(f"{name} has changed since it was written, its SHA-256 differs")


@functools.cache
def _digest_once(path: Path, version: tuple[int, ...]) -> str:
    return _file_digest(path)


def map_file(path: Path, dtype: torch.dtype, *shape: int, shared: bool = False) -> Tensor:
    """Maps a file as a tensor. Only with `shared` do writes to the tensor reach the file."""
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    return torch.from_file(str(path), shared=shared, size=torch.Size(shape).numel(), dtype=dtype).view(shape)

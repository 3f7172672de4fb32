"""Decoded data sets on this machine's disk. Processes map them into memory and share one copy.

A decoded set is a folder of plain arrays. It is written to a scratch folder and then renamed, so it is complete or
absent. On each machine one process decodes while the others wait. On a file system without locks, several processes may
decode at the same time. Their copies are identical, and the first to finish is kept. Every process checks the digests
of files up to 4 GiB before it uses them. Training images are stored in the order of the split, so the training and the
validation images are slices.
"""

import errno
import functools
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import torch
from torch import Tensor

from orchestrator.training.data import split
from orchestrator.training.data.data_splits import DataSplits, per_channel
from orchestrator.training.data.images.exclusive_lock import exclusive_lock
from orchestrator.training.data.samples import DataError, Samples

CACHE_VARIABLE = "HESSIAN_DYNAMICS_CACHE"
_LAYOUT = 3
"""Version of the file layout. Copies with a different version are not read."""
_LARGEST_DIGESTED = 4 * 2**30
"""Maximum file size, in bytes, for checking the digest, which takes every process about a second per gigabyte."""
_ZEROS = bytes(2**20)


def cache_folder() -> Path:
    """Returns the folder of decoded and downloaded data: $HESSIAN_DYNAMICS_CACHE, or ~/.cache/hessian-dynamics."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "hessian-dynamics")


@dataclass(frozen=True)
class RawSplit:
    """Training or test images in published order."""

    labels: Tensor
    """int64 [n]."""
    pixels: Iterable[bytes]
    """The bytes of each image, uint8 [channels, height, width]. Can be iterated only once."""


@dataclass(frozen=True)
class RawDataset:
    """A data set in published order, to be written into the cache."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height, width."""
    train: RawSplit
    test: RawSplit


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


def load_or_decode(folder: Path, read: Callable[[Path], RawDataset]) -> DataSplits:
    """Returns the decoded copy in a folder, memory-mapped. Decodes the data set first if there is no copy.

    Args:
        folder: as returned by `decoded_folder`.
        read: function that returns the data set. Its argument is a scratch folder for unpacked files.

    Raises:
        DataError: if the copy cannot be written or is damaged.
        Exception: if `read` raises it.
    """
    try:
        if not is_decoded(folder):
            with exclusive_lock(folder.parent / f".{folder.name}.lock", f"decoding images into {folder}") as locked:
                if not is_decoded(folder):
                    _decode(folder, read, locked)
    except OSError as error:
        raise DataError(
            f"images cannot be decoded into {str(folder.parent)!r} ({error}); "
            f"free space or fix permissions there, or set {CACHE_VARIABLE} to another folder"
        ) from None
    return _map(folder)


def _decode(folder: Path, read: Callable[[Path], RawDataset], locked: bool) -> None:
    # Remove only scratch folders of this machine. Other machines may be decoding, since locks may not be shared.
    prefix = f".decoding-{folder.name}-{platform.node()}-"
    for abandoned in folder.parent.glob(f"{prefix}*") if locked else ():  # left by a killed process
        shutil.rmtree(abandoned, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        unpacked, complete = Path(scratch, "unpacked"), Path(scratch, "complete")
        unpacked.mkdir()
        complete.mkdir()
        _write(complete, read(unpacked))
        try:
            complete.rename(folder)
        except OSError:
            # Without locks, another process may have finished first. Its copy is identical.
            if not is_decoded(folder):
                raise


def _write(folder: Path, raw: RawDataset) -> None:
    _check_free_space(folder, raw)
    images = {"train": len(raw.train.labels), "test": len(raw.test.labels)}
    order, held_out = split.training_order(images["train"])
    digest = hashlib.sha256(json.dumps(raw.classes).encode())
    label_type = torch.uint8 if len(raw.classes) <= 256 else torch.int64
    _write_split(folder / "train", raw.train, order, label_type, digest)
    _write_split(folder / "test", raw.test, torch.arange(images["test"]), label_type, digest)
    _write_noise(folder / "test.noise", images["test"], raw.shape)
    pixels = _map_file(folder / "train.pixels", torch.uint8, images["train"], *raw.shape)
    mean, std = (values.tolist() for values in split.channel_statistics(pixels[held_out:]))
    meta = {
        "classes": raw.classes,
        "shape": raw.shape,
        "images": images,
        "held_out": held_out,
        "mean": mean,
        "std": std,
        "digest": digest.hexdigest(),
        "made_by": _made_by(),
        "files": {path.name: _file_digest(path) for path in sorted(folder.iterdir())},
    }
    _write_file(folder / "meta.json", [json.dumps(meta).encode()])
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode & ~0o222)


def _check_free_space(folder: Path, raw: RawDataset) -> None:
    channels, height, width = raw.shape
    # The float32 noise of a test image takes four times as many bytes as its uint8 pixels.
    needed = (len(raw.train.labels) + 5 * len(raw.test.labels)) * channels * height * width
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")


def _write_split(path: Path, raw: RawSplit, order: Tensor, label_type: torch.dtype, digest: "hashlib._Hash") -> None:
    """Writes pixels and labels in the given order. Adds them to the digest in published order."""
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    with path.with_suffix(".pixels").open("wb") as file:
        for place, image in zip(position.tolist(), raw.pixels, strict=True):
            file.seek(place * len(image))
            file.write(image)
            digest.update(image)
        _make_durable(file)
    _write_file(path.with_suffix(".labels"), [raw.labels[order].numpy().tobytes()])
    digest.update(raw.labels.to(label_type).numpy().tobytes())


def _write_noise(path: Path, images: int, shape: tuple[int, int, int]) -> None:
    size = images * shape[0] * shape[1] * shape[2] * torch.float32.itemsize
    # Allocate the file by writing zeros. On a full disk this raises, but writing to a memory map kills the process.
    _write_file(path, (_ZEROS[: size - start] for start in range(0, size, len(_ZEROS))))
    split.draw_ood_noise(_map_file(path, torch.float32, images, *shape, shared=True))
    with path.open("rb") as file:
        _make_durable(file)


def _write_file(path: Path, content: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(content)
        _make_durable(file)


def _make_durable(file: BinaryIO) -> None:
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


def _map(folder: Path) -> DataSplits:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        _check_digests(folder, meta["files"])
        shape, held_out = meta["shape"], meta["held_out"]
        train, test = (
            Samples(
                _map_file(folder / f"{name}.pixels", torch.uint8, meta["images"][name], *shape),
                _map_file(folder / f"{name}.labels", torch.int64, meta["images"][name]),
            )
            for name in ("train", "test")
        )
        mean, std = (torch.tensor(meta[name], dtype=torch.float64) for name in ("mean", "std"))
        return DataSplits(
            train=train[held_out:],
            validation=train[:held_out],
            test=test,
            ood_noise=_map_file(folder / "test.noise", torch.float32, len(test), *shape),
            mean=per_channel(mean),
            std=per_channel(std),
            classes=tuple(meta["classes"]),
            digest=meta["digest"],
        )
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise DataError(
            f"the decoded copy {str(folder)!r} is damaged ({error}); remove that folder and run again"
        ) from None


def _map_file(path: Path, dtype: torch.dtype, *shape: int, shared: bool = False) -> Tensor:
    # With shared=False the mapping is copy-on-write, so writes never reach the file.
    return torch.from_file(str(path), shared=shared, size=torch.Size(shape).numel(), dtype=dtype).view(shape)

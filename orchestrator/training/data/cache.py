"""Decoded data sets on this machine's disk. Processes map them into memory and share one copy.

A decoded set is a folder of plain arrays. It is written to a scratch folder and then renamed, so it is complete or
absent. One process of a machine decodes while the others wait. On a file system without locks several may decode at the
same time: their copies are equal, and the first one is kept. Every process checks the digests of the files before it
uses them. Training images are stored in the order of the split, so every part that a trial uses is a slice.
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
from orchestrator.training.data.exclusive_lock import exclusive_lock
from orchestrator.training.data.images import DataError, Images

CACHE_VARIABLE = "HESSIAN_DYNAMICS_CACHE"
_LAYOUT = 3
"""Version of the files' layout. Copies with another one are not read."""
_LARGEST_DIGESTED = 4 * 2**30
"""Of larger files only the size is checked: reading takes about a second per gigabyte, in every process."""
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
    """One image after the other, each uint8 [channels, height, width]. Read once."""


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
    # Another release of torch may draw another split and other noise.
    return _LAYOUT, torch.__version__.split("+")[0]


def earlier_copies() -> list[Path]:
    """Returns decoded copies of other versions, which this version does not read. They are never removed."""
    return [folder for folder in sorted(cache_folder().glob("decoded-*")) if _maker(folder) != [*_made_by()]]


def _maker(folder: Path) -> object:
    try:
        return json.loads((folder / "meta.json").read_text()).get("made_by")
    except (OSError, ValueError, AttributeError):
        return None


def is_decoded(folder: Path) -> bool:
    """Returns whether the decoded copy exists. It is complete then."""
    return (folder / "meta.json").exists()


def load_or_decode(folder: Path, read: Callable[[Path], RawDataset]) -> DataSplits:
    """Returns the decoded copy in a folder, memory-mapped. If it does not exist, writes it first.

    Args:
        folder: as returned by `decoded_folder`.
        read: returns the data set; gets a scratch folder to unpack files into.

    Raises:
        DataError: if the copy cannot be written or is damaged.
        Exception: any exception of `read`.
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
    # Only scratch folders of this machine: machines that share the folder may not share their locks.
    prefix = f".decoding-{folder.name}-{platform.node()}-"
    for abandoned in folder.parent.glob(f"{prefix}*") if locked else ():  # by a process that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        unpacked, complete = Path(scratch, "unpacked"), Path(scratch, "complete")
        unpacked.mkdir()
        complete.mkdir()
        _write(complete, read(unpacked))
        try:
            complete.rename(folder)
        except OSError:
            # Without locks another process may have been first. Its copy is equal.
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
    # A test image's noise takes four times the bytes of its pixels.
    needed = (len(raw.train.labels) + 5 * len(raw.test.labels)) * channels * height * width
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")


def _write_split(path: Path, raw: RawSplit, order: Tensor, label_type: torch.dtype, digest: "hashlib._Hash") -> None:
    """Writes pixels and labels in the given order. Updates the digest with them in published order."""
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
    # Zeros first: on a full disk a write raises, but writing through a mapping kills the process.
    _write_file(path, (_ZEROS[: size - start] for start in range(0, size, len(_ZEROS))))
    split.draw_ood_noise(_map_file(path, torch.float32, images, *shape, shared=True))
    with path.open("rb") as file:
        _make_durable(file)


def _write_file(path: Path, content: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(content)
        _make_durable(file)


def _make_durable(file: BinaryIO) -> None:
    # Otherwise a power cut could leave a folder of the right name without its content.
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
            Images(
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
    # Not shared: a write would copy the page and never reach the file.
    return torch.from_file(str(path), shared=shared, size=torch.Size(shape).numel(), dtype=dtype).view(shape)

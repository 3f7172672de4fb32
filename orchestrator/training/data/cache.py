"""Decoded data sets on this machine's disk, memory-mapped: however many processes read one, memory holds it once.

A decoded set is a folder of plain arrays. It is made aside and renamed into place, so it is whole or not there. One
process of a machine decodes while the others wait; where the file system knows no locks they decode at the same time,
make the same one, and the first wins. Whoever reads it checks it by the digests of its files first. Training images lie
there in the order of the split, so all that a trial sees is a slice of a mapping.
"""

import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from orchestrator.training.data import split
from orchestrator.training.data.exclusive_lock import alone, aside
from orchestrator.training.data.images import DataError, Images, Source

CACHE_VARIABLE = "HESSIAN_DYNAMICS_CACHE"
_LAYOUT = 3
_DIGESTED = 4 * 2**30
"""Bytes of the largest file that every process reads whole to check it, in about a second a gigabyte. Of a larger one
only the size is looked at: a process may need little of it."""
_ZEROS = bytes(2**20)


def cache_folder() -> Path:
    """Where decoded and downloaded data lies on this machine: $HESSIAN_DYNAMICS_CACHE, or ~/.cache/hessian-dynamics."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "hessian-dynamics")


@dataclass(frozen=True)
class Part:
    """Training or test images in the order in which they are published or listed."""

    labels: Tensor
    """int64 [n]."""
    pixels: Iterable[bytes]
    """Of one image after the other: uint8 [channels, height, width]; read once."""


@dataclass(frozen=True)
class Published:
    """A data set as it is published, about to be written into the cache."""

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height, width."""
    train: Part
    test: Part


def decoded_folder(name: str, content: str) -> Path:
    """Where the decoded copy of a data set lies once it is there; `content` tells it from others of that name."""
    # Other releases of torch may draw another split and other noise.
    drawn = split.SPLIT_SEED, split.VALIDATION_FRACTION, split.OOD_STANDARD_DEVIATION
    key = hashlib.sha256(json.dumps([*_made_by(), *drawn, content]).encode()).hexdigest()
    return cache_folder() / f"decoded-{name}-{key[:16]}"


def _made_by() -> tuple[int, str]:
    """The layout, and the torch that drew: what a copy that is still read has in common with this process."""
    return _LAYOUT, torch.__version__.split("+")[0]


def earlier_copies() -> list[Path]:
    """Decoded copies that this version does not read any more, of earlier ones. Nobody removes them by himself."""
    return [folder for folder in sorted(cache_folder().glob("decoded-*")) if _maker(folder) != [*_made_by()]]


def _maker(folder: Path) -> object:
    try:
        return json.loads((folder / "meta.json").read_text()).get("made_by")
    except (OSError, ValueError, AttributeError):
        return None


def is_decoded(folder: Path) -> bool:
    """Whether a decoded copy is there; it is whole then."""
    return (folder / "meta.json").exists()


def cached(folder: Path, read: Callable[[Path], Published]) -> Source:
    """The decoded copy in a folder; where it is not there yet, made of what `read` finds.

    `read` gets a folder to unpack into, which is removed afterwards.

    Raises:
        DataError: where the copy cannot be written, or is damaged; and what `read` raises.
    """
    try:
        if not is_decoded(folder):
            with alone(folder.parent / f".{folder.name}.lock", f"decoding images into {folder}"):
                if not is_decoded(folder):
                    _make(folder, read)
    except OSError as error:
        raise DataError(
            f"images cannot be decoded into {str(folder.parent)!r} ({error}); "
            f"make room or rights there, or set {CACHE_VARIABLE} to another folder"
        ) from None
    return _mapped(folder)


def _make(folder: Path, read: Callable[[Path], Published]) -> None:
    with aside(folder.parent, f"decoding-{folder.name}") as made, aside(made, "unpacked") as unpacked:
        published = read(unpacked)
        whole = made / "whole"
        whole.mkdir()
        _write(whole, published)
        try:
            whole.rename(folder)
        except OSError:
            # Another process may have been first: its copy is the same.
            if not is_decoded(folder):
                raise


def _write(folder: Path, published: Published) -> None:
    train, test = published.train.labels, published.test.labels
    _refuse_too_little_room(folder, published)
    order, held_out = split.training_order(len(train))
    digest = hashlib.sha256(json.dumps(published.classes).encode())
    for name, part, listed in (("train", published.train, order), ("test", published.test, torch.arange(len(test)))):
        places = torch.empty_like(listed)
        places[listed] = torch.arange(len(listed))
        _write_pixels(folder / f"{name}.pixels", part.pixels, places.tolist(), digest.update)
        # One byte a label, as long as that is enough.
        digest.update(part.labels.to(torch.uint8 if len(published.classes) <= 256 else torch.int64).numpy().tobytes())
        _write_file(folder / f"{name}.labels", [part.labels[listed].numpy().tobytes()])
    _write_noise(folder / "test.noise", len(test), published.shape)
    pixels = _map(folder / "train.pixels", torch.uint8, len(train), *published.shape)
    mean, std = (values.tolist() for values in split.channel_statistics(pixels[held_out:]))
    meta = {
        "classes": published.classes,
        "shape": published.shape,
        "images": {"train": len(train), "test": len(test)},
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


def _refuse_too_little_room(folder: Path, published: Published) -> None:
    channels, height, width = published.shape
    # Noise takes four bytes where a pixel takes one.
    needed = (len(published.train.labels) + 5 * len(published.test.labels)) * channels * height * width
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")


def _write_pixels(path: Path, images: Iterable[bytes], places: list[int], seen: Callable[[bytes], None]) -> None:
    with path.open("wb") as file:
        for place, image in zip(places, images, strict=True):
            file.seek(place * len(image))
            file.write(image)
            seen(image)
        _make_durable(file)


def _write_noise(path: Path, images: int, shape: tuple[int, int, int]) -> None:
    size = images * shape[0] * shape[1] * shape[2] * torch.float32.itemsize
    # Zeros first: a full disk is an error in a write, but ends the process where it is met through a mapping.
    _write_file(path, (_ZEROS[: size - start] for start in range(0, size, len(_ZEROS))))
    split.draw_ood_noise(_map(path, torch.float32, images, *shape, shared=True))
    with path.open("rb") as file:
        _make_durable(file)


def _write_file(path: Path, content: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(content)
        _make_durable(file)


def _make_durable(file: BinaryIO) -> None:
    # Else a power cut could leave a folder of the right name without its content.
    file.flush()
    os.fsync(file.fileno())


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(folder: Path, digests: dict[str, str]) -> None:
    """Raises ValueError where a file is not as it was written. Each is read once a process, unless it changes."""
    for name, digest in digests.items():
        status = (folder / name).stat()
        seen = status.st_size, status.st_mtime_ns, status.st_ino
        if status.st_size <= _DIGESTED and _digest_once(folder / name, seen) != digest:
            raise ValueError(f"{name} is not what was written, its SHA-256 differs")


@functools.cache
def _digest_once(path: Path, seen: tuple[int, ...]) -> str:
    return _file_digest(path)


def _mapped(folder: Path) -> Source:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        _check(folder, meta["files"])
        shape, held_out = meta["shape"], meta["held_out"]
        train, test = (
            Images(
                _map(folder / f"{name}.pixels", torch.uint8, meta["images"][name], *shape),
                _map(folder / f"{name}.labels", torch.int64, meta["images"][name]),
            )
            for name in ("train", "test")
        )
        return Source(
            train=train[held_out:],
            validation=train[:held_out],
            test=test,
            ood_noise=_map(folder / "test.noise", torch.float32, len(test), *shape),
            mean=torch.tensor(meta["mean"], dtype=torch.float64),
            std=torch.tensor(meta["std"], dtype=torch.float64),
            classes=tuple(meta["classes"]),
            digest=meta["digest"],
        )
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise DataError(
            f"the decoded copy {str(folder)!r} is damaged ({error}); remove that folder and run again"
        ) from None


def _map(path: Path, dtype: torch.dtype, *shape: int, shared: bool = False) -> Tensor:
    # Not shared: what anyone wrote would be a page of his own and never reach the file.
    return torch.from_file(str(path), shared=shared, size=torch.Size(shape).numel(), dtype=dtype).view(shape)

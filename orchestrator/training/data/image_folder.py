"""Image folders: train/<class>/* and test/<class>/*, decoded once into the cache.

The decoded copy is named by a digest of the listing (names, sizes, times of change).
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.training.data.cache import Part, Published, cached, decoded_folder, is_decoded
from orchestrator.training.data.images import DataError, Source

SPLITS = ("train", "test")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def load_image_folder(folder: Path) -> Source:
    """The images of a folder, memory-mapped.

    Raises:
        DataError: where a folder is missing or empty, classes differ between train and test, an image cannot be
            read or has another size than the first, or the cache cannot be written.
    """
    listing = _list(folder)
    return cached(_decoded(listing), lambda unpacked: _publish(listing))


def image_folder_state(folder: Path) -> str:
    """Where the images of a folder are now, in a line.

    Raises:
        DataError: where it is no folder of images.
    """
    listing = _list(folder)
    if is_decoded(decoded := _decoded(listing)):
        return f"decoded in {decoded}"
    return f"{sum(map(len, listing.files.values())):,} images in {folder}, not decoded yet"


@dataclass(frozen=True)
class _Listing:
    classes: tuple[str, ...]
    files: dict[str, list[tuple[Path, int]]]
    """By split: path and label of every image, sorted by class and name."""
    digest: str


def _list(folder: Path) -> _Listing:
    if not folder.is_dir():
        raise DataError(f"data folder {str(folder)!r} does not exist; put images into train/<class>/ and test/<class>/")
    classes = {split: _classes(folder / split) for split in SPLITS}
    if classes["train"] != classes["test"]:
        differing = ", ".join(sorted(set(classes["train"]) ^ set(classes["test"])))
        raise DataError(f"{folder}: train and test must have the same classes; only one of them has: {differing}")
    names = classes["train"]
    if len(names) < 2:
        raise DataError(f"{folder / 'train'} has {len(names)} class folder; at least 2 are needed")
    digest = hashlib.sha256()
    files: dict[str, list[tuple[Path, int]]] = {}
    for split in SPLITS:
        files[split] = []
        for label, name in enumerate(names):
            for entry in _images(folder / split / name):
                status = entry.stat()
                digest.update(f"{split}/{name}/{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
                files[split].append((Path(entry.path), label))
    return _Listing(names, files, digest.hexdigest())


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"data folder {str(folder)!r} does not exist; put one folder of images a class there")
    names = tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))
    if not names:
        raise DataError(f"data folder {str(folder)!r} has no class folders; put one folder of images a class there")
    return names


def _images(folder: Path) -> list[os.DirEntry[str]]:
    entries = [entry for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in _SUFFIXES]
    if not entries:
        raise DataError(f"class folder {str(folder)!r} has no images ({', '.join(sorted(_SUFFIXES))})")
    return sorted(entries, key=lambda entry: entry.name)


def _decoded(listing: _Listing) -> Path:
    return decoded_folder("images", listing.digest)


def _publish(listing: _Listing) -> Published:
    first = _read(listing.files["train"][0][0], None)
    channels, height, width = first.shape
    train, test = (
        Part(
            torch.tensor([label for _, label in listing.files[split]]),
            _read_all([path for path, _ in listing.files[split]], first),
        )
        for split in SPLITS
    )
    return Published(listing.classes, (channels, height, width), train, test)


def _read_all(paths: list[Path], like: Tensor) -> Iterator[bytes]:
    # Pillow decodes outside the interpreter lock. In slices: a pool's map would otherwise hold the whole set.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), 1024):
            yield from pool.map(lambda path: _read(path, like).numpy().tobytes(), paths[start : start + 1024])


def _read(path: Path, like: Tensor | None) -> Tensor:
    """An image as uint8 [channels, height, width]: grey where the first image is, else RGB."""
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms.functional import pil_to_tensor

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L") if like is None else like.shape[0] == 1
            pixels: Tensor = pil_to_tensor(image.convert("L" if grey else "RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise DataError(f"image {str(path)!r} cannot be read ({error}); replace or remove it") from None
    if like is not None and pixels.shape != like.shape:
        size, expected = (f"{s[2]}x{s[1]}" for s in (pixels.shape, like.shape))
        raise DataError(f"image {str(path)!r} is {size}, the first one {expected}: all must have one size; resize it")
    return pixels

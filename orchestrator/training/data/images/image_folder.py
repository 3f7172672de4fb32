"""Image folders: train/<class>/* and test/<class>/*, decoded once into the cache.

Images are grey if all of them are, and RGB otherwise. EXIF orientation is applied. The name of the decoded copy
contains a digest of all file names, sizes, times and inodes. Names, sizes and modification times are not enough: copies
and archives keep modification times, and images without compression have equal sizes.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from orchestrator.training.data.cache.decoded_copy import decoded_digest, decoded_folder, is_decoded
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.image_file import is_grey, read_image
from orchestrator.training.data.images.stored_images import RawDataset, RawSplit, load_or_decode
from orchestrator.training.data.samples import DataError

SPLITS = ("train", "test")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_DECODER = b"2"
"""Version of the decoding. Copies decoded by another version are not read."""
_T = TypeVar("_T")


def load_image_folder(folder: Path) -> DataSplits:
    """Returns the images of a folder, memory-mapped.

    Raises:
        DataError: if a folder is missing or empty, train and test have different classes, an image cannot be read,
            has more than 8 bits per channel or differs in size from the first, or the cache cannot be written.
    """
    listing = _list(folder)
    return load_or_decode(listing.decoded, lambda scratch: _read(listing))


def image_folder_state(folder: Path) -> str:
    """Describes in one line whether the images of a folder are decoded.

    Raises:
        DataError: if it is not a folder of images.
    """
    listing = _list(folder)
    if is_decoded(listing.decoded):
        return f"decoded in {listing.decoded}"
    return f"{sum(map(len, listing.files.values())):,} images in {folder}, not decoded yet"


def image_folder_digest(folder: Path) -> str | None:
    """Returns the digest of the images of a folder; None if they are not decoded. Lists the folder, reads no image.

    Raises:
        DataError: if it is not a folder of images.
    """
    return decoded_digest(_list(folder).decoded)


@dataclass(frozen=True)
class _Listing:
    classes: tuple[str, ...]
    files: dict[str, list[tuple[Path, int]]]
    """Maps each split to the paths and labels of its images, sorted by class and name."""
    decoded: Path
    """The folder of the decoded copy."""


def _list(folder: Path) -> _Listing:
    try:
        return _list_files(folder)
    except OSError as error:  # such as a broken link or a loop of links
        raise DataError(f"{error.filename!r} cannot be read ({error.strerror}); repair or remove it") from None


def _list_files(folder: Path) -> _Listing:
    if not folder.is_dir():
        raise DataError(f"data folder {str(folder)!r} does not exist; put images into train/<class>/ and test/<class>/")
    names, test_names = (_class_names(folder / split) for split in SPLITS)
    if names != test_names:
        differing = ", ".join(sorted(set(names) ^ set(test_names)))
        raise DataError(f"{folder}: train and test must have the same classes; only one of them has: {differing}")
    if len(names) < 2:
        raise DataError(f"{folder / 'train'} has {len(names)} class folder; at least 2 are needed")
    digest = hashlib.sha256(_DECODER)
    files: dict[str, list[tuple[Path, int]]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for label, name in enumerate(names):
            for entry in _image_entries(folder / split / name):
                status = entry.stat()
                version = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                digest.update(f"{split}/{name}/{entry.name}\0{version}\n".encode())
                files[split].append((Path(entry.path), label))
    return _Listing(names, files, decoded_folder("images", digest.hexdigest()))


def _class_names(folder: Path) -> tuple[str, ...]:
    hint = "put one folder of images per class there"
    if not folder.is_dir():
        raise DataError(f"data folder {str(folder)!r} does not exist; {hint}")
    names = tuple(sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."))
    if not names:
        raise DataError(f"data folder {str(folder)!r} has no class folders; {hint}")
    return names


def _image_entries(folder: Path) -> list[os.DirEntry[str]]:
    entries = [entry for entry in os.scandir(folder) if Path(entry.name).suffix.lower() in _SUFFIXES]
    if not entries:
        raise DataError(f"class folder {str(folder)!r} has no images ({', '.join(sorted(_SUFFIXES))})")
    return sorted(entries, key=lambda entry: entry.name)


def _read(listing: _Listing) -> RawDataset:
    paths = {split: [path for path, _ in files] for split, files in listing.files.items()}
    # Not all(), which would stop at the first colour image: `is_grey` also checks the mode of each image.
    grey = set(_in_threads(is_grey, paths["train"] + paths["test"])) == {True}
    first = read_image(paths["train"][0], grey)
    train, test = (
        RawSplit(torch.tensor([label for _, label in listing.files[split]]), _pixels(paths[split], grey, first.shape))
        for split in SPLITS
    )
    channels, height, width = first.shape
    return RawDataset(listing.classes, (channels, height, width), train, test)


def _pixels(paths: list[Path], grey: bool, shape: torch.Size) -> Iterator[bytes]:
    """Yields the bytes of each image.

    Raises:
        DataError: if an image cannot be read or has another shape.
    """

    def read(path: Path) -> bytes:
        pixels = read_image(path, grey)
        if pixels.shape != shape:
            size, expected = (f"{width}x{height}" for _, height, width in (pixels.shape, shape))
            raise DataError(f"image {str(path)!r} is {size}, expected {expected} like the first image; resize it")
        return pixels.numpy().tobytes()

    return _in_threads(read, paths)


def _in_threads(read: Callable[[Path], _T], paths: list[Path]) -> Iterator[_T]:
    # Pillow releases the GIL while decoding. Slices limit memory, since one pool.map could hold all images.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), 1024):
            yield from pool.map(read, paths[start : start + 1024])

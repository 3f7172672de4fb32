"""Image folders: train/<class>/* and test/<class>/*, decoded once into a memory-mapped cache.

The cache is a folder named by a digest of the listing (names, sizes, times of change). It is made aside and renamed
into place, so it is whole or not there; processes that decode at the same time make the same one, and the first wins.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.training.images import DataError, Images, Source

CACHE_VARIABLE = "HESSIAN_DYNAMICS_CACHE"
SPLITS = ("train", "test")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def cache_folder() -> Path:
    """Where decoded data lies on this machine: $HESSIAN_DYNAMICS_CACHE, or ~/.cache/hessian-dynamics."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "hessian-dynamics")


def load_image_folder(folder: Path) -> Source:
    """The images of a folder, memory-mapped: however many processes read them, the machine holds them once.

    Raises:
        DataError: where a folder is missing or empty, classes differ between train and test, or an image cannot be
            read or has another size than the first.
    """
    listing = _list(folder)
    cache = cache_folder() / f"images-{listing.digest[:16]}"
    if not (cache / "meta.json").exists():
        _decode(listing, cache)
    meta = json.loads((cache / "meta.json").read_text())
    train, test = (_mapped(cache, split, meta["shapes"][split]) for split in SPLITS)
    return Source(train, test, listing.classes, meta["digest"])


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


def _decode(listing: _Listing, cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=cache.parent, prefix=".decoding-"))
    try:
        digest = hashlib.sha256(json.dumps(listing.classes).encode())
        first = _read(listing.files["train"][0][0], None)
        shapes = {}
        for split in SPLITS:
            labels = torch.tensor([label for _, label in listing.files[split]], dtype=torch.uint8)
            shapes[split] = [len(labels), *first.shape]
            with (aside / f"{split}.pixels").open("wb") as pixels:
                for image in _read_all([path for path, _ in listing.files[split]], first):
                    content = image.numpy().tobytes()
                    pixels.write(content)
                    digest.update(content)
            (aside / f"{split}.labels").write_bytes(labels.numpy().tobytes())
            digest.update(labels.numpy().tobytes())
        (aside / "meta.json").write_text(json.dumps({"digest": digest.hexdigest(), "shapes": shapes}))
        # Fails where another process was first: its copy is the same.
        with contextlib.suppress(OSError):
            aside.rename(cache)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read_all(paths: list[Path], like: Tensor) -> Iterator[Tensor]:
    # Pillow decodes outside the interpreter lock. In slices: a pool's map would otherwise hold the whole set.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), 1024):
            yield from pool.map(lambda path: _read(path, like), paths[start : start + 1024])


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


def _mapped(cache: Path, split: str, shape: list[int]) -> Images:
    def from_file(name: str, size: int) -> Tensor:
        return torch.from_file(str(cache / f"{split}.{name}"), shared=False, size=size, dtype=torch.uint8)

    count, channels, height, width = shape
    pixels = from_file("pixels", count * channels * height * width).view(shape)
    return Images(pixels, from_file("labels", count).to(torch.int64))

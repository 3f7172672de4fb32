"""Decoded images in the cache. They are stored in the order of the split, so training and validation are slices."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.training.data import split
from orchestrator.training.data.cache.decoded_copy import (
    check_free_space,
    decode_once,
    finish,
    make_durable,
    map_file,
    read_copy,
    write_file,
    write_zeros,
)
from orchestrator.training.data.data_splits import DataSplits, per_channel
from orchestrator.training.data.samples import Samples


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


def load_or_decode(folder: Path, read: Callable[[Path], RawDataset]) -> DataSplits:
    """Returns the decoded copy in a folder, memory-mapped. Decodes the data set first if there is no copy.

    Args:
        folder: as returned by `decoded_folder`.
        read: function that returns the data set. Its argument is a scratch folder for unpacked files.

    Raises:
        DataError: if the copy cannot be written or is damaged.
        Exception: if `read` raises it.
    """
    decode_once(folder, lambda copy, unpacked: _write(copy, read(unpacked)))
    return read_copy(folder, partial(_map, folder))


def _write(folder: Path, raw: RawDataset) -> None:
    channels, height, width = raw.shape
    # The float32 noise of a test image takes four times as many bytes as its uint8 pixels.
    check_free_space(folder, (len(raw.train.labels) + 5 * len(raw.test.labels)) * channels * height * width)
    images = {"train": len(raw.train.labels), "test": len(raw.test.labels)}
    order, held_out = split.training_order(images["train"])
    digest = hashlib.sha256(json.dumps(raw.classes).encode())
    label_type = torch.uint8 if len(raw.classes) <= 256 else torch.int64
    _write_split(folder / "train", raw.train, order, label_type, digest)
    _write_split(folder / "test", raw.test, torch.arange(images["test"]), label_type, digest)
    _write_noise(folder / "test.noise", images["test"], raw.shape)
    pixels = map_file(folder / "train.pixels", torch.uint8, images["train"], *raw.shape)
    mean, std = (values.tolist() for values in split.channel_statistics(pixels[held_out:]))
    meta = {"classes": raw.classes, "shape": raw.shape, "images": images, "held_out": held_out}
    finish(folder, {**meta, "mean": mean, "std": std, "digest": digest.hexdigest()})


def _write_split(path: Path, raw: RawSplit, order: Tensor, label_type: torch.dtype, digest: "hashlib._Hash") -> None:
    """Writes pixels and labels in the given order. Adds them to the digest in published order."""
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    with path.with_suffix(".pixels").open("wb") as file:
        for place, image in zip(position.tolist(), raw.pixels, strict=True):
            file.seek(place * len(image))
            file.write(image)
            digest.update(image)
        make_durable(file)
    write_file(path.with_suffix(".labels"), [raw.labels[order].numpy().tobytes()])
    digest.update(raw.labels.to(label_type).numpy().tobytes())


def _write_noise(path: Path, images: int, shape: tuple[int, int, int]) -> None:
    write_zeros(path, images * shape[0] * shape[1] * shape[2] * torch.float32.itemsize)
    split.draw_ood_noise(map_file(path, torch.float32, images, *shape, shared=True))
    with path.open("rb") as file:
        make_durable(file)


def _map(folder: Path, meta: dict[str, Any]) -> DataSplits:
    shape, held_out = meta["shape"], meta["held_out"]
    train, test = (
        Samples(
            map_file(folder / f"{name}.pixels", torch.uint8, meta["images"][name], *shape),
            map_file(folder / f"{name}.labels", torch.int64, meta["images"][name]),
        )
        for name in ("train", "test")
    )
    mean, std = (torch.tensor(meta[name], dtype=torch.float64) for name in ("mean", "std"))
    return DataSplits(
        train=train[held_out:],
        validation=train[:held_out],
        test=test,
        ood_noise=map_file(folder / "test.noise", torch.float32, len(test), *shape),
        mean=per_channel(mean),
        std=per_channel(std),
        classes=tuple(meta["classes"]),
        digest=meta["digest"],
    )

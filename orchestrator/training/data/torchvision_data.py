"""Published data sets: torchvision checks and decodes them, and fetches what is missing; the cache keeps the rest.

The files lie where torchvision itself would put them, so a folder that it has filled can be used as it is.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.study.data_config import DigitsData, ImageFolderData, TorchvisionData
from orchestrator.training.data.cache import (
    CACHE_VARIABLE,
    Part,
    Published,
    cache_folder,
    cached,
    decoded_folder,
    is_decoded,
)
from orchestrator.training.data.download import DownloadError, download, silence
from orchestrator.training.data.images import DataError, Source


@dataclass(frozen=True)
class Facts:
    """What is known of a published data set without reading it."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    train: int
    """Published training images, with those that are set aside to validate."""
    test: int
    classes: int


_FACTS = {
    "cifar10": Facts((3, 32, 32), 50_000, 10_000, 10),
    "cifar100": Facts((3, 32, 32), 50_000, 10_000, 100),
    "mnist": Facts((1, 28, 28), 60_000, 10_000, 10),
    "fashion_mnist": Facts((1, 28, 28), 60_000, 10_000, 10),
    "svhn": Facts((3, 32, 32), 73_257, 26_032, 10),
}
_TORCHVISION = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "svhn": "SVHN",
}


def published_shape(config: DigitsData | ImageFolderData | TorchvisionData) -> Facts | None:
    """Sizes of a data set, whether it is on this machine or not; None where only reading it can tell."""
    return _FACTS.get(config.name)


def load_published(config: TorchvisionData) -> Source:
    """A published data set, memory-mapped; downloaded and decoded where that has not been done yet.

    Raises:
        DataError: where it is neither here nor can be downloaded, a file is damaged, or the cache cannot be written.
    """
    return cached(_decoded(config), lambda unpacked: _publish(config, unpacked))


def published_state(config: TorchvisionData) -> str:
    """Where a published data set is now, in a line. Asks no network.

    Raises:
        DataError: where a file of it is damaged.
    """
    if is_decoded(decoded := _decoded(config)):
        return f"decoded in {decoded}"
    if _missing(config):
        return f"absent; the first run downloads it into {_folder(config)}"
    return f"downloaded into {_folder(config)}, not decoded yet"


def check_fetchable(config: TorchvisionData) -> None:
    """Nothing, where a data set is here, or a server of each of its missing files answers; none is downloaded.

    Raises:
        DataError: where a trial would not get it.
    """
    if is_decoded(_decoded(config)):
        return
    for file in _missing(config):
        silent = [reason for url in file.urls if (reason := silence(url))]
        if len(silent) == len(file.urls):
            raise DataError(
                f"{config.name} is not in {str(_folder(config))!r} and could not be downloaded ({'; '.join(silent)}); "
                f"put it there, or let {CACHE_VARIABLE} be a folder that has it"
            )


@dataclass(frozen=True)
class _File:
    """A file as it is published."""

    path: str
    """In the folder of the data set."""
    urls: tuple[str, ...]
    md5: str


def _torchvision(name: str) -> Any:
    try:
        from torchvision import datasets
    except ModuleNotFoundError:
        raise DataError(f"the {name} data needs torchvision: pip install 'hessian-dynamics[sweep]'") from None
    return getattr(datasets, _TORCHVISION[name])


def _files(name: str) -> list[_File]:
    kind = _torchvision(name)
    if name == "svhn":
        return [_File(path, (url,), md5) for url, path, md5 in (kind.split_list[part] for part in ("train", "test"))]
    if name in ("cifar10", "cifar100"):
        return [_File(kind.filename, (kind.url,), kind.tgz_md5)]
    return [
        _File(f"{kind.__name__}/raw/{path}", tuple(mirror + path for mirror in kind.mirrors), md5)
        for path, md5 in kind.resources
    ]


def _folder(config: TorchvisionData) -> Path:
    return Path(config.path) if config.path else cache_folder() / "downloads" / config.name


def _decoded(config: TorchvisionData) -> Path:
    return decoded_folder(config.name, json.dumps([file.md5 for file in _files(config.name)]))


def _missing(config: TorchvisionData) -> list[_File]:
    """What has to be downloaded."""
    if _unpacked_archive_is_whole(config):
        return []
    folder = _folder(config)
    return [file for file in _files(config.name) if not _is_whole(folder / file.path, file.md5, file.urls)]


def _unpacked_archive_is_whole(config: TorchvisionData) -> bool:
    """Whether somebody has unpacked the archive of a CIFAR set, which is then not needed."""
    kind, folder = _torchvision(config.name), _folder(config)
    if config.name not in ("cifar10", "cifar100") or (folder / kind.filename).exists():
        return False
    members = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    return all(_is_whole(folder / kind.base_folder / name, md5, [kind.url]) for name, md5 in members)


def _is_whole(path: Path, md5: str, urls: Iterable[str]) -> bool:
    """Whether a file is there. One that is damaged is never overwritten: it may be somebody's."""
    from torchvision.datasets.utils import calculate_md5

    try:
        if not path.exists():
            return False
        found = calculate_md5(path)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}); make it readable, or remove it") from None
    if found != md5:
        raise DataError(
            f"{str(path)!r} is damaged: its MD5 is {found}, that of the published file {md5}; remove it, and the next "
            f"run downloads it anew, or replace it by that of {' or '.join(urls)}"
        )
    return True


def _download(config: TorchvisionData, missing: list[_File]) -> None:
    folder = _folder(config)
    for number, file in enumerate(missing):
        failures = _fetch(file, folder)
        if failures:
            wanted = "\n".join(
                f"  {folder / file.path}  from {' or '.join(file.urls)}  (MD5 {file.md5})" for file in missing[number:]
            )
            raise DataError(
                f"{config.name} is not in {str(folder)!r} and could not be downloaded ({'; '.join(failures)}). Put "
                f"what is missing there by hand and run again:\n{wanted}"
            )


def _fetch(file: _File, folder: Path) -> list[str]:
    """Downloads a file, whole or not at all; what went wrong with every address, where none had it."""
    target, failures = folder / file.path, []
    for url in file.urls:
        print(f"downloading {url} to {target}", file=sys.stderr)
        try:
            download(url, target, file.md5)
            return []
        except DownloadError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"{str(target)!r} cannot be written ({error.strerror or error})")
    return failures


def _publish(config: TorchvisionData, unpacked: Path) -> Published:
    if missing := _missing(config):
        _download(config, missing)
    root, kind = _root(config, unpacked), _torchvision(config.name)
    if config.name == "svhn":
        train, test = (kind(root, split=part) for part in ("train", "test"))
    else:
        train, test = (kind(root, train=is_train) for is_train in (True, False))
    parts = _part(train), _part(test)
    classes = tuple(getattr(train, "classes", map(str, range(10))))
    return Published(classes, _channels_first(train.data).shape[1:], *parts)


def _root(config: TorchvisionData, unpacked: Path) -> Path:
    """The folder from which torchvision reads: where files are packed, it has them unpacked."""
    from torchvision.datasets.utils import extract_archive

    folder = _folder(config)
    if config.name == "svhn" or _unpacked_archive_is_whole(config):
        return folder
    for file in _files(config.name):
        into = (unpacked / file.path).parent
        into.mkdir(parents=True, exist_ok=True)
        extract_archive(str(folder / file.path), str(into))
    return unpacked


def _part(images: Any) -> Part:
    labels = images.labels if hasattr(images, "labels") else images.targets
    return Part(torch.as_tensor(labels, dtype=torch.int64), (image.tobytes() for image in _channels_first(images.data)))


def _channels_first(data: Any) -> Any:
    """uint8 [n, channels, height, width], as torchvision leaves it, not copied."""
    if isinstance(data, torch.Tensor):  # MNIST: [n, height, width]
        return data.numpy()[:, None]
    # CIFAR: [n, height, width, channels]; SVHN: channels first.
    return data if data.shape[1] == 3 else data.transpose(0, 3, 1, 2)

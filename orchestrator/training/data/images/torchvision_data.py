"""The data sets of torchvision: CIFAR-10, CIFAR-100, MNIST, Fashion-MNIST and SVHN. Missing files are downloaded.

The file layout is the same as in torchvision, so a folder that torchvision has downloaded can be used directly.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.study.parts.data_config import Data, TorchvisionData
from orchestrator.training.data.cache.decoded_copy import CACHE_VARIABLE, cache_folder, decoded_folder, is_decoded
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.images.published_file import PublishedFile
from orchestrator.training.data.images.stored_images import RawDataset, RawSplit, load_or_decode
from orchestrator.training.data.samples import DataError


@dataclass(frozen=True)
class PublishedSize:
    """Shape and number of the images of a data set."""

    shape: tuple[int, int, int]
    """Channels, height, width."""
    train: int
    """Number of published training images, including the validation images."""
    test: int
    classes: int


_SIZES = {
    "cifar10": PublishedSize((3, 32, 32), 50_000, 10_000, 10),
    "cifar100": PublishedSize((3, 32, 32), 50_000, 10_000, 100),
    "mnist": PublishedSize((1, 28, 28), 60_000, 10_000, 10),
    "fashion_mnist": PublishedSize((1, 28, 28), 60_000, 10_000, 10),
    "svhn": PublishedSize((3, 32, 32), 73_257, 26_032, 10),
}
_CLASSES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "svhn": "SVHN",
}


def published_size(config: Data) -> PublishedSize | None:
    """Returns the size of a published data set without reading it; None for other data."""
    return _SIZES.get(config.name)


def load_published(config: TorchvisionData) -> DataSplits:
    """Returns a published data set, memory-mapped. Downloads and decodes it first if necessary.

    Raises:
        DataError: if it cannot be downloaded, a file is damaged, or the cache cannot be written.
    """
    return load_or_decode(_copy_folder(config), lambda scratch: _read(config, scratch))


def published_state(config: TorchvisionData) -> str:
    """Describes the state of a published data set in one line. Uses no network.

    Raises:
        DataError: if one of its files is damaged.
    """
    if is_decoded(decoded := _copy_folder(config)):
        return f"decoded in {decoded}"
    if _missing_files(config):
        return f"absent; the first run downloads it into {_folder(config)}"
    return f"downloaded into {_folder(config)}, not decoded yet"


def check_fetchable(config: TorchvisionData) -> None:
    """Checks that a data set is on this machine, or that a server offers each missing file. Downloads nothing.

    Raises:
        DataError: if a trial could not load it.
    """
    if is_decoded(_copy_folder(config)):
        return
    for file in _missing_files(config):
        try:
            file.check_reachable()
        except DataError as error:
            raise DataError(
                f"{_not_available(config, error)}; put its files there, or set {CACHE_VARIABLE} to a cache folder "
                "that contains them"
            ) from None


def _not_available(config: TorchvisionData, error: DataError) -> str:
    return f"{config.name} is not in {str(_folder(config))!r} and cannot be downloaded ({error})"


def _dataset_class(name: str) -> Any:
    try:
        from torchvision import datasets
    except ModuleNotFoundError:
        raise DataError(f"the {name} data needs torchvision: pip install 'hessian-dynamics[sweep]'") from None
    return getattr(datasets, _CLASSES[name])


def _folder(config: TorchvisionData) -> Path:
    return Path(config.path) if config.path else cache_folder() / "downloads" / config.name


def _copy_folder(config: TorchvisionData) -> Path:
    return decoded_folder(config.name, json.dumps([file.md5 for file in _files(config)]))


def _files(config: TorchvisionData) -> list[PublishedFile]:
    dataset, folder = _dataset_class(config.name), _folder(config)
    if config.name == "svhn":
        listed = [dataset.split_list[split] for split in ("train", "test")]
        return [PublishedFile(folder / name, (url,), md5) for url, name, md5 in listed]
    if config.name in ("cifar10", "cifar100"):
        return [PublishedFile(folder / dataset.filename, (dataset.url,), dataset.tgz_md5)]
    return [
        PublishedFile(folder / dataset.__name__ / "raw" / name, tuple(mirror + name for mirror in dataset.mirrors), md5)
        for name, md5 in dataset.resources
    ]


def _missing_files(config: TorchvisionData) -> list[PublishedFile]:
    if _is_unpacked(config):
        return []
    return [file for file in _files(config) if not file.is_present()]


def _is_unpacked(config: TorchvisionData) -> bool:
    """Returns whether the user has unpacked the archive of a CIFAR data set. Then the archive itself is not needed."""
    dataset, folder = _dataset_class(config.name), _folder(config)
    if config.name not in ("cifar10", "cifar100") or (folder / dataset.filename).exists():
        return False
    members = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    return all(
        PublishedFile(folder / dataset.base_folder / name, (dataset.url,), md5).is_present() for name, md5 in members
    )


def _read(config: TorchvisionData, scratch: Path) -> RawDataset:
    _download(config, _missing_files(config))
    folder, dataset = _unpack(config, scratch), _dataset_class(config.name)
    if config.name == "svhn":
        train, test = (dataset(folder, split=split) for split in ("train", "test"))
    else:
        train, test = (dataset(folder, train=is_train) for is_train in (True, False))
    classes = tuple(getattr(train, "classes", map(str, range(10))))
    return RawDataset(classes, _channels_first(train.data).shape[1:], _raw_split(train), _raw_split(test))


def _download(config: TorchvisionData, missing: list[PublishedFile]) -> None:
    for number, file in enumerate(missing):
        try:
            file.download()
        except DataError as error:
            wanted = (f"  {file.path}  from {' or '.join(file.urls)}  (MD5 {file.md5})" for file in missing[number:])
            raise DataError(
                f"{_not_available(config, error)}. Put the missing files there by hand and run again:\n"
                + "\n".join(wanted)
            ) from None


def _unpack(config: TorchvisionData, scratch: Path) -> Path:
    """Unpacks archives into the scratch folder if necessary. Returns the folder for torchvision to read."""
    from torchvision.datasets.utils import extract_archive

    folder = _folder(config)
    if config.name == "svhn" or _is_unpacked(config):
        return folder
    for file in _files(config):
        target = scratch / file.path.relative_to(folder).parent
        target.mkdir(parents=True, exist_ok=True)
        extract_archive(str(file.path), str(target))
    return scratch


def _raw_split(images: Any) -> RawSplit:
    labels = images.labels if hasattr(images, "labels") else images.targets
    pixels = (image.tobytes() for image in _channels_first(images.data))
    return RawSplit(torch.as_tensor(labels, dtype=torch.int64), pixels)


def _channels_first(data: Any) -> Any:
    """Returns a view of torchvision's array as uint8 [n, channels, height, width]."""
    if isinstance(data, torch.Tensor):  # MNIST: [n, height, width]
        return data.numpy()[:, None]
    # CIFAR: [n, height, width, channels]. SVHN has channels first.
    return data if data.shape[1] == 3 else data.transpose(0, 3, 1, 2)

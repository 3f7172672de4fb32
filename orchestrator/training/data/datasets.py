"""The images a trial sees, as they lie on its device: uint8, normalised when used."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.study.data_config import DigitsData, ImageFolderData, TorchvisionData
from orchestrator.training.data import split
from orchestrator.training.data.image_folder import image_folder_state, load_image_folder
from orchestrator.training.data.images import DataError, Images, Source
from orchestrator.training.data.torchvision_data import (
    check_fetchable,
    load_published,
    published_shape,
    published_state,
)
from orchestrator.training.streams import stream


@dataclass(frozen=True)
class ResidentData:
    """A data set on a device, split and ready to train on. On the CPU its images are mapped from the cache's files."""

    train: Images
    validation: Images
    test: Images
    ood_noise: Tensor
    """float32 [n_test, channels, height, width], added to the normalised test images."""
    mean: Tensor
    """float32 [channels, 1, 1], of the training images' pixels in 0..255."""
    std: Tensor
    """float32 [channels, 1, 1]."""
    classes: tuple[str, ...]
    digest: str
    """Of every pixel, label and class name, before the split."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.train.pixels.shape
        return channels, height, width

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [n, channels, height, width] to float32 of mean 0 and variance 1 a channel over the training images."""
        return pixels.to(torch.float32).sub_(self.mean).div_(self.std)

    def measurement_subset(self, fraction: float) -> tuple[Tensor, Tensor]:
        """The training images on which curvature is measured, normalised, in a fixed random order, and their labels."""
        order = torch.randperm(len(self.train), generator=stream(split.SPLIT_SEED, "measurement subset"))
        chosen = order[: max(1, round(fraction * len(order)))].to(self.train.labels.device)
        return self.normalise(self.train.pixels[chosen]), self.train.labels[chosen]


# Trials of one process share the copy on its device; the next data set takes its place.
@functools.lru_cache(maxsize=1)
def load_data(config: DigitsData | ImageFolderData | TorchvisionData, device: torch.device) -> ResidentData:
    """The data set of a trial, on its device.

    Raises:
        DataError: naming the file, folder or value that is missing, damaged or too large.
    """
    source = load_source(config)
    train, mean, std = source.train, source.mean, source.std
    if config.train_subset is not None:
        train = train[: config.train_subset]
        mean, std = split.channel_statistics(train.pixels)
    return ResidentData(
        train=train.to(device),
        validation=source.validation.to(device),
        test=source.test.to(device),
        ood_noise=source.ood_noise.to(device),
        mean=mean.to(torch.float32)[:, None, None].to(device),
        std=std.to(torch.float32)[:, None, None].to(device),
        classes=source.classes,
        digest=source.digest,
    )


def load_source(config: DigitsData | ImageFolderData | TorchvisionData) -> Source:
    """The whole data set, split, on the CPU; downloaded and decoded into the cache where it is not there yet.

    Raises:
        DataError: naming the file, folder or value that is missing, damaged or too large.
    """
    # Said before anything is downloaded, where it is known.
    if facts := published_shape(config):
        _refuse_too_large_a_subset(config, facts.train - split.held_out_of(facts.train))
    if isinstance(config, DigitsData):
        source = _digits()
    elif isinstance(config, ImageFolderData):
        source = load_image_folder(Path(config.path))
    else:
        source = load_published(config)
    _refuse_too_large_a_subset(config, len(source.train))
    return source


def available(config: DigitsData | ImageFolderData | TorchvisionData) -> str:
    """Where a data set is now, in a line: decoded, downloaded or absent, and the folder. Asks no network."""
    try:
        return f"{config.name}: {_state(config)}"
    except DataError as error:
        return f"{config.name}: not usable: {error}"


def obtainable(config: DigitsData | ImageFolderData | TorchvisionData) -> str:
    """The same of a data set that is here, or that could be fetched: where it is absent, its servers are asked.

    Raises:
        DataError: where a trial would not get it.
    """
    state = _state(config)
    if isinstance(config, TorchvisionData):
        check_fetchable(config)
    return f"{config.name}: {state}"


def _state(config: DigitsData | ImageFolderData | TorchvisionData) -> str:
    if isinstance(config, DigitsData):
        _digits()
        return "part of scikit-learn"
    if isinstance(config, ImageFolderData):
        return image_folder_state(Path(config.path))
    return published_state(config)


def _refuse_too_large_a_subset(config: DigitsData | ImageFolderData | TorchvisionData, images: int) -> None:
    if config.train_subset is not None and config.train_subset > images:
        raise DataError(
            f"data.train_subset = {config.train_subset}: {config.name} has {images} images to train on, without the "
            f"{split.VALIDATION_FRACTION:.0%} that validate; take at most {images}, or null for all of them"
        )


def _digits() -> Source:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise DataError("the digits data needs scikit-learn: pip install 'hessian-dynamics[sweep]'") from None
    raw = load_digits()
    # Grey values are 0..16 there.
    pixels = torch.as_tensor(raw.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.as_tensor(raw.target, dtype=torch.int64)
    digest = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    images = Images(pixels, labels).select(
        torch.randperm(len(labels), generator=stream(split.SPLIT_SEED, "digits test split"))
    )
    tested = round(0.2 * len(images))
    order, held_out = split.training_order(len(images) - tested)
    test, train = images[:tested], images[tested:].select(order)
    mean, std = split.channel_statistics(train[held_out:].pixels)
    return Source(
        train=train[held_out:],
        validation=train[:held_out],
        test=test,
        ood_noise=split.draw_ood_noise(torch.empty(test.pixels.shape)),
        mean=mean,
        std=std,
        classes=tuple(map(str, range(10))),
        digest=digest,
    )

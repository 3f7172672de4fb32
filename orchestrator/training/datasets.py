"""The images a trial sees, as they lie on its device: uint8, normalised when used."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from orchestrator.study.data_config import DigitsData, ImageFolderData
from orchestrator.training.image_folder import load_image_folder
from orchestrator.training.images import DataError, Images, Source
from orchestrator.training.streams import stream

SPLIT_SEED = 42
"""Fixes what all trials on one data set share: the validation split, the measurement subset, the OOD noise."""
VALIDATION_FRACTION = 0.1
OOD_STANDARD_DEVIATION = 0.25
"""Of the Gaussian noise added to the normalised test images."""


@dataclass(frozen=True)
class ResidentData:
    """A data set on a device, split and ready to train on."""

    train: Images
    validation: Images
    test: Images
    ood_noise: Tensor
    """float32 [n_test, channels, height, width], added to the normalised test images."""
    mean: Tensor
    """float32 [channels, 1, 1], of the training split's pixels in 0..255."""
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
        """uint8 [n, channels, height, width] to float32 of mean 0 and variance 1 a channel over the training split."""
        return pixels.to(torch.float32).sub_(self.mean).div_(self.std)

    def measurement_subset(self, fraction: float) -> tuple[Tensor, Tensor]:
        """The training images on which curvature is measured, normalised, in a fixed random order, and their labels."""
        order = torch.randperm(len(self.train), generator=stream(SPLIT_SEED, "measurement subset"))
        chosen = order[: max(1, round(fraction * len(order)))].to(self.train.labels.device)
        return self.normalise(self.train.pixels[chosen]), self.train.labels[chosen]


# Trials of one process share the copy on its device; the next data set takes its place.
@functools.lru_cache(maxsize=1)
def load_data(config: DigitsData | ImageFolderData, device: torch.device) -> ResidentData:
    """The data set of a trial, on its device.

    Raises:
        DataError: naming the folder or image that is missing or cannot be read.
    """
    source = load_source(config)
    order = torch.randperm(len(source.train), generator=stream(SPLIT_SEED, "validation split"))
    held_out = round(VALIDATION_FRACTION * len(order))
    if not 0 < held_out < len(order):
        raise DataError(f"{len(order)} training images are too few to set {VALIDATION_FRACTION:.0%} aside to validate")
    train = source.train.select(order[held_out:])
    pixels = train.pixels.flatten(2)
    mean = _channel_mean(pixels)
    std = (_channel_mean(pixels, power=2) - mean.square()).sqrt().clamp(min=1.0)
    noise = torch.randn(source.test.pixels.shape, generator=stream(SPLIT_SEED, "ood noise"))
    return ResidentData(
        train=train.to(device),
        validation=source.train.select(order[:held_out]).to(device),
        test=source.test.to(device),
        ood_noise=noise.mul_(OOD_STANDARD_DEVIATION).to(device),
        mean=mean.to(torch.float32)[:, None, None].to(device),
        std=std.to(torch.float32)[:, None, None].to(device),
        classes=source.classes,
        digest=source.digest,
    )


def load_source(config: DigitsData | ImageFolderData) -> Source:
    """The data set as it was published, on the CPU; decoded into the cache where it is not there yet."""
    if isinstance(config, DigitsData):
        return _digits()
    return load_image_folder(Path(config.path))


def _digits() -> Source:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise DataError("the digits data needs scikit-learn: pip install 'hessian-dynamics[sweep]'") from None
    raw = load_digits()
    # Grey values are 0..16 there.
    pixels = torch.as_tensor(raw.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    labels = torch.as_tensor(raw.target, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=stream(SPLIT_SEED, "digits test split"))
    images = Images(pixels, labels)
    test = round(0.2 * len(order))
    digest = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    return Source(images.select(order[test:]), images.select(order[:test]), tuple(map(str, range(10))), digest)


def _channel_mean(pixels: Tensor, power: int = 1) -> Tensor:
    """Mean of pixel**power a channel, exact to float64, in slices: a float copy of a large data set would not fit."""
    total = sum(part.to(torch.float64).pow_(power).sum((0, 2)) for part in pixels.split(4096))
    assert isinstance(total, Tensor)
    return total / (pixels.shape[0] * pixels.shape[2])

"""What all trials on one data set share: which images validate, the OOD noise, the scale of the pixels."""

import torch
from torch import Tensor

from orchestrator.training.data.images import DataError
from orchestrator.training.streams import stream

SPLIT_SEED = 42
"""Fixes what all trials on one data set share: the validation split, the measurement subset, the OOD noise."""
VALIDATION_FRACTION = 0.1
OOD_STANDARD_DEVIATION = 0.25
"""Of the Gaussian noise added to the normalised test images."""
_SLICE = 2**20
"""Values of which a float64 copy is made at a time: one of a large data set would not fit."""


def training_order(images: int) -> tuple[Tensor, int]:
    """The published training images in the order of the split, and how many of the first ones validate.

    Raises:
        DataError: where there are too few to set some aside.
    """
    held_out = held_out_of(images)
    if not 0 < held_out < images:
        raise DataError(f"{images} training images are too few to set {VALIDATION_FRACTION:.0%} aside to validate")
    return torch.randperm(images, generator=stream(SPLIT_SEED, "validation split")), held_out


def held_out_of(images: int) -> int:
    """How many of so many published training images validate."""
    return round(VALIDATION_FRACTION * images)


def draw_ood_noise(noise: Tensor) -> Tensor:
    """Fills a float32 tensor of the test images' shape with what is added to them once they are normalised."""
    return noise.normal_(generator=stream(SPLIT_SEED, "ood noise")).mul_(OOD_STANDARD_DEVIATION)


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation a channel, float64 [channels], of uint8 [n, channels, height, width].

    The deviation is at least 1, one grey value: a constant channel is not divided by zero. Sums are of whole numbers
    and exact, so the order of the images moves no bit.
    """
    mean = _channel_mean(pixels)
    return mean, (_channel_mean(pixels, power=2) - mean.square()).sqrt().clamp(min=1.0)


def _channel_mean(pixels: Tensor, power: int = 1) -> Tensor:
    """Mean of pixel**power a channel, exact to float64."""
    images = max(1, _SLICE // pixels[0].numel())
    total = sum(part.to(torch.float64).pow_(power).sum((0, 2, 3)) for part in pixels.split(images))
    assert isinstance(total, Tensor)
    return total / (pixels.numel() // pixels.shape[1])

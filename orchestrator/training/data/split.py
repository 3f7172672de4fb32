"""Values shared by all trials on a data set: the validation split, the OOD noise, and the pixel statistics."""

from collections.abc import Iterator

import torch
from torch import Tensor

from orchestrator.training.data.samples import DataError
from orchestrator.training.streams import stream

SPLIT_SEED = 42
"""Seed of the validation split, the measurement subset and the OOD noise, the same for all trials."""
VALIDATION_FRACTION = 0.1
OOD_STANDARD_DEVIATION = 0.25
"""Standard deviation of the Gaussian noise that is added to the normalised test images."""
_SLICE = 2**20
"""Number of values converted to float64 at a time. A large data set might not fit into memory as float64."""


def training_order(images: int) -> tuple[Tensor, int]:
    """Returns a permutation of the published training images, and the number of validation images.

    The validation images come first in the permutation.

    Raises:
        DataError: if there are too few images for a validation split.
    """
    held_out = validation_size(images)
    if not 0 < held_out < images:
        raise DataError(
            f"{images} training samples are too few to hold out {VALIDATION_FRACTION:.0%} for validation, expected at "
            "least 6: use more data"
        )
    return torch.randperm(images, generator=stream(SPLIT_SEED, "validation split")), held_out


def validation_size(samples: int, fraction: float = VALIDATION_FRACTION) -> int:
    """Returns the number of published training samples that are held out for validation."""
    return round(fraction * samples)


def draw_ood_noise(noise: Tensor) -> Tensor:
    """Fills a float32 tensor of the test images' shape with the OOD noise and returns it."""
    return noise.normal_(generator=stream(SPLIT_SEED, "ood noise")).mul_(OOD_STANDARD_DEVIATION)


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation per channel, float64 [channels], of uint8 [n, channels, height, width].

    The deviation is at least 1 (one grey value), which avoids division by zero for a constant channel. Sums of integers
    are exact in float64, so the order of the images does not matter.
    """
    mean = _channel_mean(pixels)
    return mean, (_channel_mean(pixels, power=2) - mean.square()).sqrt().clamp(min=1.0)


def pixel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """As `channel_statistics`, but per pixel: float64 [channels, height, width]."""
    mean, square = (sum(_as_float64(pixels, power)) / len(pixels) for power in (1, 2))
    assert isinstance(mean, Tensor)
    assert isinstance(square, Tensor)
    return mean, (square - mean.square()).clamp(min=1.0).sqrt()


def _as_float64(pixels: Tensor, power: int) -> Iterator[Tensor]:
    """Yields sums over slices of the images, of powers of their pixels."""
    for part in pixels.split(max(1, _SLICE // pixels[0].numel())):
        yield part.to(torch.float64).pow_(power).sum(0)


def _channel_mean(pixels: Tensor, power: int = 1) -> Tensor:
    images = max(1, _SLICE // pixels[0].numel())
    total = sum(part.to(torch.float64).pow_(power).sum((0, 2, 3)) for part in pixels.split(images))
    assert isinstance(total, Tensor)
    return total / (pixels.numel() // pixels.shape[1])

"""Labelled images as tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(ValueError):
    """The data is missing, empty or cannot be read; the message says which file and what to do."""


@dataclass(frozen=True)
class Images:
    """Images and their labels. Never written to: they may be mapped from files that all processes share."""

    pixels: Tensor
    """uint8 [n, channels, height, width]."""
    labels: Tensor
    """int64 [n]."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, run: slice) -> "Images":
        """A run of the images, not copied."""
        return Images(self.pixels[run], self.labels[run])

    def select(self, index: Tensor) -> "Images":
        """The images at these positions, copied."""
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> "Images":
        """The same images on a device; where they are there already, not copied."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Source:
    """A data set on the CPU, split, with all that trials on it share."""

    train: Images
    """In a fixed random order: the first n of them are a subset for any n."""
    validation: Images
    test: Images
    ood_noise: Tensor
    """float32 [n_test, channels, height, width], added to the normalised test images."""
    mean: Tensor
    """float64 [channels], of all training images' pixels in 0..255, without the validation images."""
    std: Tensor
    """float64 [channels]."""
    classes: tuple[str, ...]
    digest: str
    """SHA-256 of all pixels, labels and class names as they were published, before the split."""

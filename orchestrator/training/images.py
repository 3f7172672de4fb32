"""Labelled images as tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(ValueError):
    """The data is missing, empty or cannot be read; the message says which file and what to do."""


@dataclass(frozen=True)
class Images:
    """Images and their labels."""

    pixels: Tensor
    """uint8 [n, channels, height, width]."""
    labels: Tensor
    """int64 [n]."""

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> "Images":
        """The images at these positions, copied."""
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> "Images":
        """The same images on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Source:
    """A data set as published: its training and test images, on the CPU."""

    train: Images
    test: Images
    classes: tuple[str, ...]
    digest: str
    """SHA-256 of all pixels, labels and class names."""

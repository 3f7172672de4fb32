"""Labelled images as tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(ValueError):
    """The data is missing, empty or unreadable. The message names the file and the fix."""


@dataclass(frozen=True)
class Images:
    """Images and their labels. Read-only, since they may be mapped from files shared by all processes."""

    pixels: Tensor
    """uint8 [n, channels, height, width]."""
    labels: Tensor
    """int64 [n]."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, run: slice) -> "Images":
        """Returns consecutive images as a view."""
        return Images(self.pixels[run], self.labels[run])

    def select(self, index: Tensor) -> "Images":
        """Returns a copy of the images at these positions."""
        return Images(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> "Images":
        """Returns the images on a device, without a copy if they are already there."""
        return Images(self.pixels.to(device), self.labels.to(device))

"""Samples of a task as tensors: inputs and their targets."""

from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(ValueError):
    """The data is missing, empty or unreadable. The message names the file and the fix."""


@dataclass(frozen=True)
class Samples:
    """Inputs and their targets. Read-only, since they may be mapped from files shared by all processes."""

    inputs: Tensor
    """[n, ...] as stored: uint8 images [n, channels, height, width], float32 columns [n, columns] or int64 tokens."""
    targets: Tensor
    """[n, ...]: int64 class indices or tokens, or float32 values."""

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, run: slice) -> "Samples":
        """Returns consecutive samples as a view."""
        return Samples(self.inputs[run], self.targets[run])

    def select(self, index: Tensor) -> "Samples":
        """Returns a copy of the samples at these positions."""
        return Samples(self.inputs[index], self.targets[index])

    def to(self, device: torch.device) -> "Samples":
        """Returns the samples on a device, without a copy if they are already there."""
        return Samples(self.inputs.to(device), self.targets.to(device))

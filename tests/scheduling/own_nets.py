"""A user-defined network that fails in training."""

import torch
from torch import Tensor, nn

ERRORS = {
    "ZeroDivisionError": ZeroDivisionError("a bug of mine"),
    "OutOfMemoryError": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
}


_CHECKED = 4
"""Number of samples with which a network is checked before a sweep starts; batches are larger."""


class Failing(nn.Sequential):
    """Raises an error in the first training step, but not when it is checked before."""

    def __init__(self, classes: int, error: str) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, classes))
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        if self.training and len(images) > _CHECKED:
            raise ERRORS[self.error]
        return super().forward(images)

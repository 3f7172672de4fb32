"""A user-defined network that fails in training."""

import torch
from torch import Tensor, nn

ERRORS = {
    "ZeroDivisionError": ZeroDivisionError("a bug of mine"),
    "OutOfMemoryError": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
}


class Failing(nn.Sequential):
    """Raises an error in the first training step."""

    def __init__(self, classes: int, error: str) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, classes))
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise ERRORS[self.error]
        return super().forward(images)

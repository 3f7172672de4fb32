"""Networks that cannot be captured as a CUDA graph, each for a different reason."""

import torch
from torch import Tensor, nn


class _Net(nn.Sequential):
    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.LazyLinear(20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, classes))


class Waiting(_Net):
    """Branches on a value computed on the device."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = super().forward(images)
        return outputs if outputs.sum() > 0 else 1.1 * outputs


class Drawing(_Net):
    """Branches on a random number drawn on the CPU."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = super().forward(images)
        return outputs if self.training and torch.rand(()) < 0.5 else 1.1 * outputs


class CountingCalls(_Net):
    """Behaves differently in every third step."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += self.training
        outputs: Tensor = super().forward(images)
        return 1.1 * outputs if self.calls % 3 == 0 else outputs


class Remembering(_Net):
    """Keeps a tensor that is not a buffer."""

    last: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = super().forward(images)
        if self.training:
            mean = outputs.detach().mean()
            outputs, self.last = (outputs if self.last is None else outputs + self.last), mean
        return outputs


class Synchronising(_Net):
    """Synchronises in a way that only the capture detects."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = super().forward(images)
        if outputs.is_cuda:
            torch.cuda.synchronize()
        return outputs

"""Networks as a user would write them, some with errors."""

import random
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

torch.rand(3)  # a draw during the import must not change weights


class Plain(nn.Module):
    """Takes shape, classes and two more arguments."""

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 5, sizes: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.given = (shape, classes, width, list(sizes))
        channels, height, pixels = shape
        self.layers = nn.Sequential(
            nn.Linear(channels * height * pixels, width), nn.ReLU(), nn.Dropout(0.3), nn.Linear(width, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        # `view` needs contiguous images.
        return self.layers(images.view(len(images), -1))  # type: ignore[no-any-return]


class Fixed(nn.Sequential):
    """Has fixed sizes and takes no arguments."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10))


class Lazy(nn.Sequential):
    """Has lazy layers, initialised in the first pass."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(classes))


class KeywordOnly(Fixed):
    """Names only `classes` in its signature."""

    def __init__(self, *, classes: int, **more: Any) -> None:
        super().__init__()
        self.given = {"classes": classes, **more}


class OfAnyTask(nn.Module):
    """Reads numbers or tokens."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, vocabulary: int | None) -> None:
        super().__init__()
        self.given = (input_shape, outputs, vocabulary)
        if vocabulary is None:
            self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))
        else:
            self.layers = nn.Sequential(nn.Embedding(vocabulary, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)  # type: ignore[no-any-return]


class Consuming(Fixed):
    """Modifies the list that it receives."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        widths.clear()


class Broken(Fixed):
    """Raises in its constructor."""

    def __init__(self, width: int) -> None:
        super().__init__()
        raise ValueError(f"no width is good, {width} neither")


class BrokenPass(Fixed):
    """Raises in its forward pass, optionally in train mode only."""

    def __init__(self, in_training: bool = False) -> None:
        super().__init__()
        self.in_training = in_training

    def forward(self, images: Tensor) -> Tensor:
        if self.training or not self.in_training:
            raise ValueError("a bug in the pass")
        return super().forward(images)


class Flattens(nn.Module):
    """A convolutional network that accepts any memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(36, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.flat(max_pool2d(self.convolution(images).relu(), 2)))  # type: ignore[no-any-return]

    def flat(self, features: Tensor) -> Tensor:
        return features.flatten(1)


class Views(Flattens):
    """Calls `view`, which fails for features in channels_last."""

    def flat(self, features: Tensor) -> Tensor:
        return features.view(len(features), -1)


class ViewsInTraining(Flattens):
    """Calls `view` in train mode only."""

    def flat(self, features: Tensor) -> Tensor:
        return features.view(len(features), -1) if self.training else features.flatten(1)


class ReadsStrides(Flattens):
    """Computes another function of images in channels_last."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / images.stride(1)


class ReadsStridesLater(Flattens):
    """As `ReadsStrides`, but only after four forward passes in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        self.passes += self.training
        return super().forward(images) / (images.stride(1) if self.passes > 4 else 1)


class Nothing(nn.Module):
    """Has no parameters."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10]


class NoNetwork:
    """Is not a torch.nn.Module."""


def make_net() -> nn.Module:
    """Is not a class."""
    return Fixed()


class WithoutBiases(nn.Sequential):
    """Has only parameters with 2 dimensions."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(64, 10, bias=False), nn.Dropout(0.2), nn.Tanh(), nn.Linear(10, classes, bias=False)
        )


class HardSigmoid(nn.Sequential):
    """Has an activation without a second derivative in torch."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 4), nn.Hardsigmoid(), nn.Linear(4, 10))


class Mixing(Fixed):
    """Subtracts the mean over the batch, so samples influence each other."""

    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images)
        return outputs - outputs.mean(0)


class NoSecondPass(Fixed):
    """Raises if its gradient has a graph, as only a measurement asks for."""

    def forward(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled() and not self.training:
            raise RuntimeError("out of order")
        return super().forward(images)


class Threaded(nn.Sequential):
    """A network whose outputs depend on the number of threads, as rounding does on some processors."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = super().forward(images)
        return outputs * (1.0 + 1e-3 * torch.get_num_threads())


class DrawsWeights(Fixed):
    """Draws its weights with NumPy, or from the clock."""

    def __init__(self, clock: bool = False) -> None:
        super().__init__()
        with torch.no_grad():
            self[1].weight.mul_(time.perf_counter() if clock else np.random.rand())  # noqa: NPY002 (as users do)


class DrawsInTraining(Fixed):
    """Draws a random number in train mode, with torch or from the entropy of the system."""

    def __init__(self, generator: str) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Tensor:
        outputs = super().forward(images)
        draws = {"torch": torch.rand(1), "entropy": np.random.default_rng().random()}
        return outputs * draws[self.generator] if self.training else outputs


class DrawsABit(Fixed):
    """Draws one bit with Python in train mode, and does not use it."""

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            random.getrandbits(1)
        return super().forward(images)


class PairInTraining(Fixed):
    """Returns two outputs in train mode."""

    def forward(self, images: Tensor) -> Any:
        return (super().forward(images),) * 2 if self.training else super().forward(images)


class Detached(Fixed):
    """Has outputs without a gradient; with `leaf` they require one, but the parameters get none."""

    def __init__(self, leaf: bool = False) -> None:
        super().__init__()
        self.leaf = leaf

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach().requires_grad_(self.leaf)


class Predicts(Fixed):
    """Returns classes in place of logits."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).round().long()

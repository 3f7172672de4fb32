"""Data, shifts and losses of the user's own, for tests. Some are wrong on purpose."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def values(count: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _drawn(count, 3), _drawn(count, seed=1), _drawn(10, 3, seed=2), _drawn(10, seed=3)


def labelled() -> dict[str, Any]:
    return {"train": ((_drawn(40, 3) > 0).float(), (_drawn(40, 4) > 0).float()),
            "test": (_drawn(10, 3), (_drawn(10, 4) > 0).float()), "labels": True}  # fmt: skip


def images() -> dict[str, Any]:
    pixels = torch.arange(40 * 48, dtype=torch.int64).remainder(256).to(torch.uint8).view(40, 3, 4, 4)
    return {
        "train": (pixels, torch.arange(40) % 3),
        "test": (pixels[:9], torch.arange(9) % 3),
        "classes": ["a", "b", "c"],
    }


def colour_images() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    pixels = torch.arange(20 * 3072, dtype=torch.int64).remainder(251).to(torch.uint8).view(20, 3, 32, 32)
    return pixels, torch.arange(20) % 2, pixels[:4], torch.arange(4) % 2


def tokens() -> dict[str, Any]:
    sequences = torch.arange(40 * 6).remainder(5).view(40, 6)
    return {
        "train": (sequences[:, :-1], sequences[:, 1:]),
        "test": (sequences[:5, :-1], sequences[:5, 1:]),
        "vocabulary": 5,
    }


def sequences(classes: int | list[str] = 3, normalise: str = "none") -> dict[str, Any]:
    """Sequences whose class is the sum of their tokens, modulo the number of classes."""
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randint(5, (count, 6), generator=generator) for count in (40, 12))
    count = classes if isinstance(classes, int) else len(classes)
    return {"train": (train, train.sum(1) % count), "test": (test, test.sum(1) % count), "vocabulary": 5}


def unseeded() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.randn(40, 3), torch.randn(40), torch.randn(10, 3), torch.randn(10)


def from_entropy() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = torch.tensor(np.random.default_rng().normal(size=(40, 1)))
    return inputs, torch.arange(40) % 2, inputs, torch.arange(40) % 2


def seeded_globally() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return unseeded()


def nothing() -> None:
    pass


def of_other_lengths() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _drawn(40, 3), _drawn(39), _drawn(10, 3), _drawn(10)


def not_finite() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _drawn(40, 3) / 0.0, _drawn(40), _drawn(10, 3), _drawn(10)


def without_vocabulary() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    content = tokens()
    return *content["train"], *content["test"]


def raising() -> None:
    raise RuntimeError("no such server")


def mirrored(inputs: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    return inputs.flip(-1) + strength * torch.randn(inputs.shape, generator=generator)


def too_few(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs[:1]


def unseeded_noise(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs + torch.randn(inputs.shape)


def infinite(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs / 0.0


def next_token(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return inputs + 1


def huber(outputs: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    return F.huber_loss(outputs, targets, delta=delta)


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum()


def per_sample(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(1)


def constant(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.tensor(1.0)


def random(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs + torch.randn(outputs.shape), targets)


def detached(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs.detach(), targets).requires_grad_()


def not_a_number(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets) * float("nan")


def changing_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets.mul_(2.0))


def complex_valued(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets).to(torch.complex64)


def of_outputs(outputs: Tensor) -> Tensor:
    return outputs.square().mean()


def broken(outputs: Tensor, targets: Tensor) -> Tensor:
    raise RuntimeError("wrong device")

"""Building blocks of the networks that `linearity` is tested on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.estimators.cases import seeded

Forward = Callable[[Any, Tensor], Tensor]


class Written(nn.Module):
    """A network made of ``parts``, with its forward pass given as a function of the network and the inputs."""

    def __init__(self, forward: Forward, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.written = forward

    def forward(self, inputs: Tensor) -> Tensor:
        return self.written(self, inputs)


@dataclass(frozen=True)
class Judged:
    """A network, words that its reason must contain, and the shape of an input (empty: integer tokens)."""

    name: str
    build: Callable[[], nn.Module]
    reason: str = ""
    shape: tuple[int, ...] = (3,)

    def model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build().double()

    def inputs(self) -> Tensor:
        if not self.shape:
            return torch.tensor([[0, 1], [2, 2]])
        return torch.randn(2, *self.shape, dtype=torch.float64, generator=seeded(1))


def net(forward: Forward, *widths: int, **parts: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A network in eval mode of linear layers a, b, c with these widths (default 3, 4, 2) and of other parts."""
    sizes = widths or (3, 4, 2)

    def build() -> nn.Module:
        made: dict[str, nn.Module] = {n: nn.Linear(*pair) for n, *pair in zip("abc", sizes, sizes[1:], strict=False)}
        return Written(forward, **(made | {name: part() for name, part in parts.items()})).eval()

    return build

"""Optimizers as a user would write them, some with errors."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim


class SignDescent(optim.Optimizer):
    """Steps along the sign of the gradient."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, powers: tuple[float, ...] = ()) -> None:
        super().__init__(params, {"lr": lr, "powers": powers})

    def direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        assert parameter.grad is not None
        return parameter.grad.sign()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter -= group["lr"] * self.direction(parameter, group)


class Noisy(SignDescent):
    """Adds noise from torch's generator."""

    def direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        return torch.randn_like(parameter)


class CountingInGroup(SignDescent):
    """Keeps its state in the parameter group: each step is half as long as the one before."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["halvings"] = group.get("halvings", 0) + 1
        super().step()

    def direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        return super().direction(parameter, group) / 2 ** group["halvings"]


class ChangingItsRate(SignDescent):
    """Halves its own learning rate."""

    def direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        group["lr"] *= 0.5
        return super().direction(parameter, group)


class Forgetful(SignDescent):
    """Keeps its state in an attribute, which checkpoints do not contain."""

    steps = 0

    def direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        self.steps += 1
        return super().direction(parameter, group) / self.steps


class Unsaved(SignDescent):
    """Keeps a function in its parameter group."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(params, lr)
        self.param_groups[0]["power"] = make_nothing


class WithoutRate(optim.Optimizer):
    """Has no learning rate."""

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in self.param_groups[0]["params"]:
            parameter -= 0.01 * parameter.grad


class Broken(SignDescent):
    """Raises in its step."""

    def direction(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        raise KeyError("a bug in the step")


def make_nothing() -> None:
    """Is not a class."""

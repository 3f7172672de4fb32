"""Each optimizer against its formula, a few steps by hand in float64."""

import pytest
import torch
from torch import Tensor, nn

from orchestrator.study.optimizer_config import AdamConfig, SgdConfig
from orchestrator.training.optimizers import build_optimizer


def steps_taken(config: SgdConfig | AdamConfig, gradients: list[Tensor], start: Tensor) -> list[Tensor]:
    parameter = nn.Parameter(start.clone())
    optimizer = build_optimizer(config, [parameter])
    visited = []
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        visited.append(parameter.detach().clone())
    return visited


GRADIENTS = [torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) * scale for scale in (1.0, -0.3, 2.0)]
START = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.01), (0.9, 0.01)])
def test_sgd(momentum: float, decay: float) -> None:
    config = SgdConfig(name="sgd", lr=0.1, momentum=momentum, weight_decay=decay)
    where, velocity = START.clone(), torch.zeros_like(START)
    for gradient, visited in zip(GRADIENTS, steps_taken(config, GRADIENTS, START), strict=True):
        velocity = momentum * velocity + gradient + decay * where
        where = where - 0.1 * velocity
        torch.testing.assert_close(visited, where, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adam(decay: float) -> None:
    config = AdamConfig(name="adam", lr=0.01, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=decay)
    where, first, second = START.clone(), torch.zeros_like(START), torch.zeros_like(START)
    for step, (gradient, visited) in enumerate(zip(GRADIENTS, steps_taken(config, GRADIENTS, START), strict=True), 1):
        gradient = gradient + decay * where
        first = 0.8 * first + 0.2 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        where = where - 0.01 * (first / (1 - 0.8**step)) / ((second / (1 - 0.99**step)).sqrt() + 1e-6)
        torch.testing.assert_close(visited, where, rtol=1e-10, atol=1e-10)

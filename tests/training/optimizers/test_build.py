"""A few steps of each optimizer agree with its formula in float64."""

import pytest
import torch
from torch import Tensor, nn, optim

from orchestrator.study.parts.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    OptimizerClassConfig,
    RmspropConfig,
    SamConfig,
    SgdConfig,
)
from orchestrator.training.optimizers.build import Config, build_optimizer, is_capturable


def steps_taken(config: Config, gradients: list[Tensor], start: Tensor) -> list[Tensor]:
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
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(momentum: float, decay: float, nesterov: bool) -> None:
    nesterov = nesterov and momentum > 0
    config = SgdConfig(name="sgd", lr=0.1, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    where, velocity = START.clone(), torch.zeros_like(START)
    for gradient, visited in zip(GRADIENTS, steps_taken(config, GRADIENTS, START), strict=True):
        gradient = gradient + decay * where
        velocity = momentum * velocity + gradient
        where = where - 0.1 * (gradient + momentum * velocity if nesterov else velocity)
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


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_adamw_decouples_weight_decay_from_the_gradient(decay: float) -> None:
    config = AdamWConfig(name="adamw", lr=0.01, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=decay)
    where, first, second = START.clone(), torch.zeros_like(START), torch.zeros_like(START)
    for step, (gradient, visited) in enumerate(zip(GRADIENTS, steps_taken(config, GRADIENTS, START), strict=True), 1):
        first = 0.8 * first + 0.2 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        update = (first / (1 - 0.8**step)) / ((second / (1 - 0.99**step)).sqrt() + 1e-6)
        where = where - 0.01 * (update + decay * where)
        torch.testing.assert_close(visited, where, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("rate_decay", "initial", "decay"), [(0.0, 0.0, 0.0), (0.1, 0.5, 0.01)])
def test_adagrad(rate_decay: float, initial: float, decay: float) -> None:
    config = AdagradConfig(
        name="adagrad", lr=0.1, lr_decay=rate_decay, initial_accumulator=initial, eps=1e-6, weight_decay=decay
    )
    where, total = START.clone(), torch.full_like(START, initial)
    for step, (gradient, visited) in enumerate(zip(GRADIENTS, steps_taken(config, GRADIENTS, START), strict=True)):
        gradient = gradient + decay * where
        total = total + gradient**2
        where = where - 0.1 / (1 + step * rate_decay) * gradient / (total.sqrt() + 1e-6)
        torch.testing.assert_close(visited, where, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.01)])
def test_rmsprop(momentum: float, decay: float) -> None:
    config = RmspropConfig(name="rmsprop", lr=0.01, alpha=0.9, eps=1e-6, momentum=momentum, weight_decay=decay)
    where, square, velocity = START.clone(), torch.zeros_like(START), torch.zeros_like(START)
    for gradient, visited in zip(GRADIENTS, steps_taken(config, GRADIENTS, START), strict=True):
        gradient = gradient + decay * where
        square = 0.9 * square + 0.1 * gradient**2
        velocity = momentum * velocity + gradient / (square.sqrt() + 1e-6)
        where = where - 0.01 * velocity
        torch.testing.assert_close(visited, where, rtol=1e-10, atol=1e-10)


def test_defaults_of_adamw_equal_those_of_torch() -> None:
    parameter = nn.Parameter(START.clone())
    ours = build_optimizer(AdamWConfig(name="adamw", lr=0.01), [parameter]).param_groups[0]
    theirs = optim.AdamW([parameter]).param_groups[0]
    assert (ours["weight_decay"], ours["betas"], ours["eps"]) == (0.01, theirs["betas"], theirs["eps"])
    assert theirs["weight_decay"] == 0.01


def test_steps_with_sam_or_other_classes_are_not_captured() -> None:
    assert is_capturable(SgdConfig(name="sgd", lr=0.1, gradient_clip=1.0))
    assert not is_capturable(SgdConfig(name="sgd", lr=0.1, sam=SamConfig(rho=0.1)))
    assert not is_capturable(OptimizerClassConfig(name="torch.optim:NAdam"))


@pytest.mark.parametrize(
    "config",
    [
        SgdConfig(name="sgd", lr=0.1),
        AdamConfig(name="adam", lr=0.1),
        AdamWConfig(name="adamw", lr=0.1),
        AdagradConfig(name="adagrad", lr=0.1),
        RmspropConfig(name="rmsprop", lr=0.1),
    ],
    ids=lambda config: config.name,
)
def test_no_optimizer_loops_over_parameters_in_python(config: Config) -> None:
    group = build_optimizer(config, [nn.Parameter(START.clone())]).param_groups[0]
    assert group.get("fused") or group["foreach"]

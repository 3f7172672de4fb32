"""The sharpness in the optimizer's geometry against the dense P^-1/2 H P^-1/2, and the ratio to the threshold."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from orchestrator.study.parts.optimizer_config import CosineSchedule
from orchestrator.study.stability import coupled_weight_decay, stability_threshold
from orchestrator.training.measurement.preconditioner import preconditioner
from tests.training.measurement.measured import trained

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "lr": 0.1},
    "momentum": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True},
    "adam": {"name": "adam", "lr": 0.01},
    "adamw": {"name": "adamw", "lr": 0.01},
    "adagrad": {"name": "adagrad", "lr": 0.05},
    "rmsprop": {"name": "rmsprop", "lr": 0.005},
}
EXACT = {"name": "stability", "products": 67, "tolerance": 1e-10}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sharpness_and_ratio_agree_with_the_dense_matrix(name: str) -> None:
    at = trained(OPTIMIZERS[name])
    found = at.measure(EXACT).metrics()
    config = at.config.optimizer
    diagonal = preconditioner(config, at.optimizer, at.gradient)
    assert diagonal is not None
    scale = diagonal.rsqrt()
    decayed = at.hessian + coupled_weight_decay(config) * torch.eye(len(scale))
    expected = float(torch.linalg.eigvalsh(scale[:, None] * decayed * scale)[-1])
    threshold = stability_threshold(config, config.lr, at.steps).value  # type: ignore[union-attr]
    assert threshold is not None
    assert found["stability/sharpness"] == pytest.approx(expected, rel=1e-6)
    assert found["stability/threshold"] == pytest.approx(threshold, rel=1e-12)
    assert found["stability/ratio"] == pytest.approx(expected / threshold, rel=1e-6)
    assert found["stability/sharpness_residual"] < 1e-3 * expected


def test_plain_sgd_shares_the_products_of_lanczos() -> None:
    at = trained(OPTIMIZERS["sgd"])
    both = at.measure("lanczos", EXACT)
    assert both.metrics()["stability/sharpness"] == both.hessian_lambda_max
    assert both.hessian_products == at.measure("lanczos").hessian_products


def test_the_learning_rate_is_that_of_the_next_step() -> None:
    at = trained(OPTIMIZERS["sgd"])
    config = at.config.model_copy(update={"schedule": CosineSchedule(name="cosine")})
    found = replace(at, config=config).measure(EXACT).metrics()
    rate = 0.1 * (1 + math.cos(math.pi * 5 / 9)) / 2  # step 5 of 10
    assert found["stability/threshold"] == pytest.approx(2 / rate)


def test_an_optimizer_without_a_known_update_has_no_values() -> None:
    at = trained({"name": "torch.optim:NAdam", "lr": 0.001})
    assert not [key for key in at.measure(EXACT).metrics() if key.startswith("stability/")]


def test_a_measurement_changes_neither_model_nor_optimizer() -> None:
    at = trained(OPTIMIZERS["adam"])
    state = {key: value.clone() for entry in at.optimizer.state.values() for key, value in entry.items()}
    weights = [parameter.detach().clone() for parameter in at.model.parameters()]
    at.measure(EXACT)
    assert all(torch.equal(a, b) for a, b in zip(weights, at.model.parameters(), strict=True))
    after = {key: value for entry in at.optimizer.state.values() for key, value in entry.items()}
    assert all(torch.equal(state[key], after[key]) for key in state)

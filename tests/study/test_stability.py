"""Formulas of the stability thresholds. `test_preconditioner` runs torch's optimizers on both sides of them."""

import math
from typing import Any

import pytest
from pydantic import TypeAdapter

from orchestrator.study.parts.optimizer_config import Optimizer
from orchestrator.study.stability import coupled_weight_decay, stability_threshold, unknown_geometry

ADAPTER: TypeAdapter[Optimizer] = TypeAdapter(Optimizer)


def config(**fields: Any) -> Optimizer:
    return ADAPTER.validate_python({"lr": 0.1, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "sgd"}, 20.0),
        ({"name": "sgd", "weight_decay": 0.1}, 20.0),
        ({"name": "sgd", "momentum": 0.9}, 38.0),
        ({"name": "sgd", "momentum": 0.9, "nesterov": True}, 38.0 / 2.8),
        ({"name": "adam"}, 380.0),
        ({"name": "adam", "beta1": 0.0}, 20.0),
        ({"name": "adamw", "weight_decay": 0.0}, 380.0),
        ({"name": "adamw", "weight_decay": 0.5}, 1.95 * 19.0 / 0.1),
        ({"name": "adagrad"}, 20.0),
        ({"name": "rmsprop"}, 20.0),
        ({"name": "rmsprop", "momentum": 0.5}, 30.0),
    ],
)
def test_thresholds_at_a_learning_rate_of_a_tenth(fields: dict[str, Any], expected: float) -> None:
    found = stability_threshold(config(**fields), 0.1)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert "lr" in found.reason


def test_adagrad_slows_down_by_its_decay() -> None:
    slower = config(name="adagrad", lr_decay=0.01)
    assert stability_threshold(slower, 0.1, step=50).value == pytest.approx(30.0)


def test_a_learning_rate_of_zero_is_always_stable() -> None:
    for fields in ({"name": "sgd"}, {"name": "adamw"}, {"name": "sgd", "sam": {"rho": 0.1}}):
        assert stability_threshold(config(**fields), 0.0, gradient_norm=1.0).value == math.inf


def test_the_edge_of_sam_solves_its_equation() -> None:
    rho, norm, lr = 0.05, 0.3, 0.02
    edge = stability_threshold(config(name="sgd", sam={"rho": rho}), lr, gradient_norm=norm).value
    assert edge is not None and lr * edge * (1 + rho * edge / norm) == pytest.approx(2.0, rel=1e-12)
    assert edge < 2 / lr


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "torch.optim:NAdam"}, "the update of torch.optim:NAdam is not known"),
        ({"name": "adam", "sam": {"rho": 0.1}}, "only around SGD without momentum"),
        ({"name": "sgd", "momentum": 0.9, "sam": {"rho": 0.1}}, "only around SGD without momentum"),
        ({"name": "sgd", "weight_decay": 0.1, "sam": {"rho": 0.1}}, "only around SGD without momentum"),
        ({"name": "sgd", "gradient_clip": 5.0, "sam": {"rho": 0.1}}, "SAM with gradient clipping"),
    ],
)
def test_optimizers_without_a_known_geometry(fields: dict[str, Any], reason: str) -> None:
    found = stability_threshold(config(**fields), 0.1, gradient_norm=1.0)
    assert found.value is None and reason in found.reason
    assert unknown_geometry(config(**fields)) == found.reason


def test_clipping_has_a_threshold_only_while_it_is_inactive() -> None:
    clipped = config(name="sgd", gradient_clip=1.0)
    assert unknown_geometry(clipped) is None
    assert stability_threshold(clipped, 0.1, gradient_norm=0.9).value == pytest.approx(20.0)
    for norm, reason in ((1.1, "norm 1.1 is clipped to 1"), (None, "norm of the gradient, which is None")):
        found = stability_threshold(clipped, 0.1, gradient_norm=norm)
        assert found.value is None and reason in found.reason


@pytest.mark.parametrize(("norm", "reason"), [(0.0, "gradient of 0"), (math.nan, "which is nan"), (None, "is None")])
def test_sam_needs_a_gradient(norm: float | None, reason: str) -> None:
    found = stability_threshold(config(name="sgd", sam={"rho": 0.1}), 0.1, gradient_norm=norm)
    assert found.value is None and reason in found.reason


def test_only_coupled_weight_decay_shifts_the_hessian() -> None:
    names = ("sgd", "adam", "adagrad", "rmsprop")
    assert [coupled_weight_decay(config(name=name, weight_decay=0.1)) for name in names] == [0.1] * 4
    assert coupled_weight_decay(config(name="adamw", weight_decay=0.1)) == 0.0
    assert coupled_weight_decay(config(name="torch.optim:NAdam", weight_decay=0.1)) == 0.0

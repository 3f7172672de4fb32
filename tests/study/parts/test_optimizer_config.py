"""Optimizers and schedules of a trial, selected by name."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.study.parts.optimizer_config import Optimizer, Schedule

OPTIMIZER: TypeAdapter[Any] = TypeAdapter(Optimizer)
SCHEDULE: TypeAdapter[Any] = TypeAdapter(Schedule)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad", "rmsprop"])
def test_an_optimizer_needs_only_a_learning_rate(name: str) -> None:
    optimizer = OPTIMIZER.validate_python({"name": name, "lr": 0.1})
    assert (optimizer.name, optimizer.lr) == (name, 0.1)
    with pytest.raises(ValidationError, match="Field required"):
        OPTIMIZER.validate_python({"name": name})
    with pytest.raises(ValidationError, match="greater than 0"):
        OPTIMIZER.validate_python({"name": name, "lr": 0.0})


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad", "rmsprop", "torch.optim:NAdam"])
def test_every_optimizer_takes_sam_and_gradient_clip(name: str) -> None:
    content = {"name": name, "lr": 0.1, "sam": {"rho": 0.05}, "gradient_clip": 1}
    optimizer = OPTIMIZER.validate_python(content)
    assert (optimizer.sam.rho, optimizer.gradient_clip) == (0.05, 1.0)
    for wrong in ({"sam": {"rho": 0}}, {"sam": {"rho": -0.1}}, {"gradient_clip": 0}):
        with pytest.raises(ValidationError, match="greater than 0"):
            OPTIMIZER.validate_python({**content, **wrong})
    with pytest.raises(ValidationError, match="Field required"):
        OPTIMIZER.validate_python({**content, "sam": {}})


def test_keys_of_a_class_are_its_arguments() -> None:
    content = {"name": "mine.optim:Lion", "lr": 1, "betas": [0.9, 0.99], "mode": "x", "sam": None, "gradient_clip": 2.0}
    optimizer = OPTIMIZER.validate_python(content)
    assert optimizer.arguments == {"lr": 1, "betas": (0.9, 0.99), "mode": "x"}
    assert OPTIMIZER.validate_python({"name": "mine.optim:Lion"}).arguments == {}
    with pytest.raises(ValidationError, match="must name a class or function as package.module:name"):
        OPTIMIZER.validate_python({"name": "mine.optim:"})
    with pytest.raises(ValidationError):
        OPTIMIZER.validate_python({"name": "mine.optim:Lion", "betas": {"a": 1}})


def test_nesterov_needs_momentum() -> None:
    assert OPTIMIZER.validate_python({"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}).nesterov
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        OPTIMIZER.validate_python({"name": "sgd", "lr": 0.1, "nesterov": True})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "step"}, "Field required"),
        ({"name": "step", "every": 0}, "greater than or equal to 1"),
        ({"name": "step", "every": 1, "factor": 1.5}, "less than or equal to 1"),
        ({"name": "cosine", "final": -0.1}, "greater than or equal to 0"),
        ({"name": "constant", "final": 0.1}, "Extra inputs are not permitted"),
        ({"name": "constant", "warmup_epochs": -1}, "greater than or equal to 0"),
    ],
)
def test_invalid_schedules_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SCHEDULE.validate_python(content)

"""Networks of a trial, built in or named as package.module:name."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.study.parts.model_config import (
    CnnConfig,
    GruConfig,
    MlpConfig,
    Model,
    ModuleConfig,
    TorchvisionConfig,
)

MODEL: TypeAdapter[Any] = TypeAdapter(Model)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"name": "cnn"}, CnnConfig(name="cnn")),
        ({"name": "mlp", "hidden": [7, 8]}, MlpConfig(name="mlp", hidden=(7, 8))),
        ({"name": "gru"}, GruConfig(name="gru")),
        (
            {"name": "torchvision", "architecture": "resnet18", "groups": 1},
            TorchvisionConfig(name="torchvision", architecture="resnet18", groups=1),  # type: ignore[call-arg]
        ),
        ({"name": "mine.models:Net", "width": 3}, ModuleConfig(name="mine.models:Net", width=3)),  # type: ignore[call-arg]
    ],
)
def test_the_name_selects_the_network(content: dict[str, Any], expected: object) -> None:
    assert MODEL.validate_python(content) == expected


def test_other_keys_of_a_user_network_are_its_arguments() -> None:
    model = MODEL.validate_python({"name": "mine:Net", "width": 3, "layers": [1, 2], "bias": None})
    assert model.arguments == {"width": 3, "layers": [1, 2], "bias": None}
    model.arguments["width"] = 4
    assert model.arguments["width"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "my-package:Net"}, "must name a class or function as package.module:name"),
        ({"name": "package.module:"}, "must name a class or function as package.module:name"),
        ({"name": "mine:Net", "width": {"a": 1}}, "width"),
        ({"name": "mlp", "hidden": []}, "at least 1 item"),
        ({"name": "cnn", "dropout": 1.0}, "less than 1"),
        ({"name": "cnn", "width": 3}, "Extra inputs are not permitted"),
        ({"name": "cnn", "activation": "elu"}, "'relu', 'leaky_relu', 'gelu', 'silu', 'tanh' or 'softplus'"),
        ({"name": "mlp", "init_scale": 0.0}, "greater than 0"),
        ({"name": "resnet", "depth": 18}, r"must be 6 n \+ 2 \(8, 14, 20, ...\), .*; set it to 14 or 20"),
        ({"name": "resnet", "depth": 2}, "set it to 8$|set it to 8 "),
        ({"name": "resnet", "norm": "layer"}, "'batch' or 'group'"),
        (
            {"name": "vit", "heads": 7},
            "heads is 7, expected a divisor of width, which is 64; set heads to 8, or width to a multiple of 7",
        ),
        ({"name": "transformer", "width": 10}, "heads is 4, expected a divisor of width, which is 10; set heads to 5"),
        ({"name": "lstm", "width": 0}, "greater than or equal to 1"),
        ({"name": "torchvision"}, "architecture"),
        ({"name": "torchvision", "architecture": "resnet18", "weights": "DEFAULT"}, "starts from random weights; rem"),
        (
            {"name": "torchvision", "architecture": "resnet18", "num_classes": 5},
            "num_classes cannot be set, because it",
        ),
        ({"name": "torchvision", "architecture": "resnet18", "norm": [1]}, "norm"),
    ],
)
def test_invalid_networks_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MODEL.validate_python(content)

"""Networks of a trial, built in or named as package.module:Class."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.study.model_config import CnnConfig, MlpConfig, Model, ModuleConfig

MODEL: TypeAdapter[Any] = TypeAdapter(Model)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"name": "cnn"}, CnnConfig(name="cnn")),
        ({"name": "mlp", "hidden": [7, 8]}, MlpConfig(name="mlp", hidden=(7, 8))),
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
        ({"name": "my-package:Net"}, "must name a class as package.module:Class"),
        ({"name": "package.module:"}, "must name a class as package.module:Class"),
        ({"name": "mine:Net", "width": {"a": 1}}, "width"),
        ({"name": "mlp", "hidden": []}, "at least 1 item"),
        ({"name": "cnn", "dropout": 1.0}, "less than 1"),
        ({"name": "cnn", "width": 3}, "Extra inputs are not permitted"),
    ],
)
def test_invalid_networks_are_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MODEL.validate_python(content)

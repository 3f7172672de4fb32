"""Signatures for tests of networks, and shorter calls of `build_model`."""

from typing import Any

from pydantic import TypeAdapter
from torch import nn

from orchestrator.study.parts.model_config import Model
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature

IMAGES = Signature((1, 8, 8), outputs=10)
FEATURES = Signature((5,), outputs=3)
TOKENS = Signature((6,), outputs=4, vocabulary=7)

_MODEL: TypeAdapter[Model] = TypeAdapter(Model)


def config(name: str, **settings: Any) -> Model:
    """Returns a validated config."""
    return _MODEL.validate_python({"name": name, **settings})


def built(signature: Signature, name: str, seed: int = 0, **settings: Any) -> nn.Module:
    """Returns a built-in network."""
    return build_model(config(name, **settings), signature, seed)


def parameters(model: nn.Module) -> int:
    """Returns the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())

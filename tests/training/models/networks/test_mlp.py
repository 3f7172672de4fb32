"""Multilayer perceptrons."""

from torch import nn

from orchestrator.training.models.signature import Signature
from tests.training.models.built import FEATURES, IMAGES, built, parameters


def kinds(**settings: object) -> list[str]:
    return [type(layer).__name__ for layer in built(IMAGES, "mlp", **settings)]


def test_order_of_layers() -> None:
    hidden = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert kinds(dropout=0.2, batch_norm=True) == ["Flatten", *hidden * 2, "Linear"]
    assert kinds(hidden=(5,)) == ["Flatten", "Linear", "ReLU", "Linear"]
    assert kinds(hidden=(5,), activation="gelu") == ["Flatten", "Linear", "GELU", "Linear"]


def test_hidden_layers_have_the_configured_sizes() -> None:
    model = built(Signature((3, 4, 2), 10), "mlp", hidden=(7, 5, 3))
    sizes = [(layer.in_features, layer.out_features) for layer in model if isinstance(layer, nn.Linear)]
    assert sizes == [(24, 7), (7, 5), (5, 3), (3, 10)]
    assert parameters(built(Signature((3, 32, 32), 10), "mlp")) == 1_393_610
    assert parameters(built(FEATURES, "mlp", hidden=(4,))) == 5 * 4 + 4 + 4 * 3 + 3

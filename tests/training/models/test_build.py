"""Built-in networks: their output shapes and initial weights."""

from typing import Any

import pytest
import torch

from orchestrator.training.models.signature import Signature
from tests.training.models.built import FEATURES, IMAGES, TOKENS, built

NETWORKS: list[tuple[Signature, str, dict[str, Any]]] = [
    (IMAGES, "cnn", {}),
    (IMAGES, "mlp", {}),
    (FEATURES, "mlp", {"hidden": [4]}),
    (Signature((4, 2), 3), "mlp", {"hidden": [4]}),
    (IMAGES, "resnet", {"depth": 8, "width": 4}),
    (IMAGES, "vit", {"width": 8, "heads": 2, "depth": 2}),
    (TOKENS, "transformer", {"width": 8, "heads": 2, "depth": 2}),
    (TOKENS, "lstm", {"width": 8}),
    (TOKENS, "gru", {"width": 8}),
    (Signature((3, 32, 32), 10), "torchvision", {"architecture": "squeezenet1_1"}),
]
every_network = pytest.mark.parametrize(
    ("signature", "name", "settings"), NETWORKS, ids=[f"{name}, {s.input_shape}" for s, name, _ in NETWORKS]
)


@every_network
def test_outputs_have_the_shape_of_the_signature(signature: Signature, name: str, settings: dict[str, Any]) -> None:
    model = built(signature, name, **settings)
    assert model.training
    dtype = torch.float32 if signature.vocabulary is None else torch.int64
    assert model(torch.zeros(5, *signature.input_shape, dtype=dtype)).shape == (5, *signature.output_shape)


@every_network
def test_initial_weights_depend_only_on_the_seed(signature: Signature, name: str, settings: dict[str, Any]) -> None:
    torch.manual_seed(1)
    first = built(signature, name, 5, **settings).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = (built(signature, name, seed, **settings).state_dict() for seed in (5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())
    assert any(not torch.equal(tensor, other[key]) for key, tensor in first.items())

"""The memory format of images in training and evaluation."""

import copy
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from orchestrator.training.models.memory_format import evaluation_memory_format, trains_in_channels_last
from orchestrator.training.models.signature import Signature
from tests.estimators.observed_state import assert_same, snapshot
from tests.training.models.built import IMAGES, built


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("cnn", {}, torch.channels_last),
        ("resnet", {"depth": 8, "width": 4}, torch.channels_last),
        ("mlp", {}, torch.contiguous_format),
        ("vit", {"width": 8, "depth": 1}, torch.contiguous_format),
    ],
)
def test_outputs_do_not_depend_on_the_format(
    name: str, settings: dict[str, int], expected: torch.memory_format
) -> None:
    model = built(IMAGES, name, **settings).eval()
    assert evaluation_memory_format(model) == expected
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(model(images.contiguous(memory_format=expected)), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("cnn", {"batch_norm": True, "dropout": 0.3}, True),
        ("resnet", {"depth": 8, "width": 4}, True),
        ("vit", {"width": 8, "depth": 1, "patch": 2}, True),
        ("mlp", {"hidden": [5]}, False),
        ("resnet", {"depth": 8, "width": 64}, False),
        ("tests.training.user_nets:Flattens", {}, True),
        ("tests.training.user_nets:Views", {}, False),
        ("tests.training.user_nets:ViewsInTraining", {}, False),
        ("tests.training.user_nets:ReadsStrides", {}, False),
    ],
)
def test_training_uses_channels_last_if_the_network_computes_the_same(
    name: str, settings: dict[str, Any], expected: bool
) -> None:
    model = built(Signature((3, 8, 8), 10), name, **settings)
    inputs, targets = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    before = copy.deepcopy(snapshot(model))
    assert trains_in_channels_last(model, inputs, targets, cross_entropy) == expected
    assert_same(snapshot(model), before)


def test_a_network_that_cannot_be_copied_gets_images_as_they_are() -> None:
    model = built(Signature((3, 8, 8), 10), "cnn")
    model.uncopyable = (number for number in range(3))  # type: ignore[assignment]
    assert not trains_in_channels_last(model, torch.randn(2, 3, 8, 8), torch.arange(2), cross_entropy)

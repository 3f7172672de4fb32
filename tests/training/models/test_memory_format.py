"""The memory format of evaluated images."""

import pytest
import torch

from orchestrator.training.models.memory_format import evaluation_memory_format
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

"""Vision transformers."""

import pytest
import torch
from torch import nn

from orchestrator.training.models.signature import Signature
from tests.training.models.built import IMAGES, built, parameters


def block_parameters(width: int) -> int:
    attention = 4 * width * width + 4 * width
    hidden = 8 * width * width + 5 * width
    return attention + hidden + 2 * 2 * width


def test_parameters() -> None:
    model = built(Signature((3, 32, 32), 10), "vit")
    expected = 3 * 16 * 64 + 64 + 64 * 64 + 4 * block_parameters(64) + 2 * 64 + 64 * 10 + 10
    assert parameters(model) == expected == 207_946


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 6, 9)])
def test_patches_may_be_rectangular_grids(shape: tuple[int, int, int]) -> None:
    patch = 4 if shape[1] == 8 else 3
    model = built(Signature(shape, 3), "vit", patch=patch, width=8, heads=2, depth=1)
    assert model(torch.zeros(2, *shape)).shape == (2, 3)


def test_images_must_consist_of_whole_patches() -> None:
    message = r"vit has patch 3, expected a divisor .* which have 8x12 pixels: set patch to one of 1, 2, 4$"
    with pytest.raises(ValueError, match=message):
        built(Signature((1, 12, 8), 3), "vit", patch=3)


def test_positions_distinguish_patches() -> None:
    model = built(IMAGES, "vit", width=8, heads=2, depth=1).eval()
    image = torch.rand(1, 1, 8, 8)
    assert not torch.allclose(model(image), model(image.roll(4, dims=3)))
    nn.init.zeros_(model.get_parameter("blocks.positions.weight"))
    torch.testing.assert_close(model(image), model(image.roll(4, dims=3)))


def test_blocks_start_with_different_weights() -> None:
    model = built(IMAGES, "vit", width=8, heads=2, depth=2)
    first, second = (model.get_parameter(f"blocks.blocks.{block}.linear1.weight") for block in (0, 1))
    assert not torch.equal(first, second)


def test_dropout_acts_in_training_only() -> None:
    model = built(IMAGES, "vit", width=8, heads=2, depth=1, dropout=0.5)
    images = torch.rand(2, 1, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))

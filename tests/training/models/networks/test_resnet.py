"""Residual networks."""

import pytest
import torch
from torch import nn

from orchestrator.training.models.signature import Signature
from tests.training.models.built import IMAGES, built, parameters

COLOUR = Signature((3, 32, 32), 10)


@pytest.mark.parametrize(("depth", "published"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_agree_with_the_paper(depth: int, published: float) -> None:
    # In millions; table 6 of He et al. (2016).
    digits = 1 if depth == 110 else 2
    assert round(parameters(built(COLOUR, "resnet", depth=depth)) / 1e6, digits) == published


def test_parameters_of_the_default() -> None:
    assert parameters(built(COLOUR, "resnet")) == 269_722
    assert parameters(built(COLOUR, "resnet", norm="group")) == 269_722


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 7, 5), (1, 1, 1)])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_any_image_size_is_accepted(shape: tuple[int, int, int], norm: str) -> None:
    model = built(Signature(shape, 4), "resnet", depth=14, width=4, norm=norm)
    assert model(torch.zeros(3, *shape)).shape == (3, 4)


def test_layers_by_depth() -> None:
    model = built(IMAGES, "resnet", depth=14, width=4)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) + 1 == 14  # the last layer is linear
    assert [layer.out_channels for layer in convolutions] == [4] * 5 + [8] * 4 + [16] * 4
    assert [layer.stride[0] for layer in convolutions] == [1] * 5 + [2, 1, 1, 1] * 2


def test_groups_of_group_norm() -> None:
    model = built(IMAGES, "resnet", depth=8, width=4, norm="group")
    norms = [layer for layer in model.modules() if isinstance(layer, nn.GroupNorm)]
    assert [(layer.num_groups, layer.num_channels) for layer in norms] == [(1, 4)] * 3 + [(1, 8)] * 2 + [(2, 16)] * 2
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def test_shortcuts_are_strided_and_padded() -> None:
    model = built(IMAGES, "resnet", depth=8, width=2)
    block = model.get_submodule("stages.1.0")
    for parameter in block.parameters():
        nn.init.zeros_(parameter)  # only the shortcut remains
    images = torch.rand(3, 2, 8, 8)
    expected = torch.cat([images[:, :, ::2, ::2], torch.zeros(3, 2, 4, 4)], dim=1)
    assert torch.equal(block(images), expected)

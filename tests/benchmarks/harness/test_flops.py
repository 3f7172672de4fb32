"""Compares the operations counted by torch with formulas for the layers."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.harness.flops import PRODUCT_REBUILT, counted, network_flops
from orchestrator.study.parts.model_config import CnnConfig
from orchestrator.training.models.build import build_model
from orchestrator.training.models.signature import Signature


@pytest.fixture
def cnn() -> nn.Module:
    return build_model(CnnConfig(name="cnn"), Signature((3, 32, 32), 10), seed=0)


def test_linear_layer() -> None:
    flops = network_flops(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2))
    # The backward pass only computes the gradient of the weights, because the inputs are images.
    assert (flops.forward, flops.training) == (120, 240)


def test_cnn_of_the_paper(cnn: nn.Module) -> None:
    first = 2 * 32 * 32 * 32 * 3 * 9
    rest = 2 * 16 * 16 * 32 * 32 * 9 + 2 * (2048 * 400 + 400 * 400 + 400 * 10)
    flops = network_flops(cnn, (3, 32, 32))
    assert flops.forward == first + rest
    assert flops.training == 2 * first + 3 * rest


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_grouped_convolution_takes_fewer_operations(groups: int) -> None:
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=groups)
    images = torch.randn(2, 4, 5, 5, requires_grad=True)
    forward = 2 * 2 * 5 * 5 * 8 * (4 // groups) * 9
    assert counted(lambda: layer(images)) == forward
    assert counted(lambda: layer(images).sum().backward()) == 3 * forward


def test_hessian_vector_product_costs_about_nine_forward_passes(cnn: nn.Module) -> None:
    images, labels = torch.randn(4, 3, 32, 32), torch.randint(10, (4,))
    parameters = list(cnn.parameters())

    def product() -> None:
        gradients = torch.autograd.grad(cross_entropy(cnn(images), labels), parameters, create_graph=True)
        torch.autograd.grad(gradients, parameters, [torch.randn_like(parameter) for parameter in parameters])

    # Slightly less than nine, because the images need no gradient.
    assert PRODUCT_REBUILT - 1.5 < counted(product) / 4 / network_flops(cnn, (3, 32, 32)).forward <= PRODUCT_REBUILT

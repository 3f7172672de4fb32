"""Gradients computed from image patches equal those of `torch.conv2d`."""

import pytest
import torch
from torch import nn

from orchestrator.training.cuda.first_convolutions import FirstConvolutions, _FirstConvolution

GEOMETRIES = [([1, 1], [1, 1], [1, 1]), ([2, 1], [0, 1], [1, 2]), ([1, 3], [2, 0], [2, 1])]


@pytest.mark.parametrize(("stride", "padding", "dilation"), GEOMETRIES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_equal_those_of_torch_conv2d(
    stride: list[int], padding: list[int], dilation: list[int], with_bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, 9, 8, generator=generator, dtype=torch.float64)
    shapes = [(6, 3, 3, 2), *([(6,)] if with_bias else [])]
    parameters = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    bias = parameters[1] if with_bias else None
    expected = torch.conv2d(images, parameters[0], bias, stride, padding, dilation)
    found = _FirstConvolution.apply(images, parameters[0], bias, stride, padding, dilation)
    assert torch.equal(found, expected)
    delta = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(*(torch.autograd.grad(z, parameters, delta) for z in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_convolutions_on_a_cpu_are_unchanged() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, padding="same"))
    images = torch.randn(2, 1, 8, 8)
    with FirstConvolutions():
        inside = network(images)
    assert torch.equal(inside, network(images))
    assert "_FirstConvolution" not in str(inside.grad_fn.next_functions)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, which this machine lacks")
def test_only_first_layers_with_few_channels_are_replaced_on_cuda() -> None:
    network = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 4, 3, padding=1)).cuda()
    with FirstConvolutions():
        first = network[0](torch.randn(2, 3, 8, 8, device="cuda"))
        second = network[1](first)
        many = nn.Conv2d(32, 4, 3).cuda()(torch.randn(2, 32, 8, 8, device="cuda"))
    assert "_FirstConvolution" in type(first.grad_fn).__name__
    assert "_FirstConvolution" not in type(second.grad_fn).__name__
    assert "_FirstConvolution" not in type(many.grad_fn).__name__

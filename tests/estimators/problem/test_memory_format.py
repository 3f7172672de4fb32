"""Images lie by pixel where a model does not mind, and by channel where it does; the numbers are the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d

from estimators import GaussNewtonOperator, HessianOperator, exact_trace
from estimators.kernels.channels_last import is_channels_last
from estimators.operators.dense import dense_hessian
from estimators.per_sample.norms import SampleNorms

TARGETS = torch.tensor([0, 1, 2, 0])


class Flattens(nn.Module):
    """Takes images as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 2, 3), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(self.features(images).flatten(1))
        return outputs

    def features(self, images: Tensor) -> Tensor:
        return max_pool2d(self.convolution(images).relu(), 2)


class Views(Flattens):
    """Takes images by channel only."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(self.features(images).view(len(images), -1))
        return outputs


class _ViewedBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view(-1).view(gradient.shape)


class ViewsBackwards(Flattens):
    """Takes any images, and gradients by channel only."""

    def features(self, images: Tensor) -> Tensor:
        return max_pool2d(_ViewedBackwards.apply(self.convolution(images)).relu(), 2)


class ReadsStrides(Flattens):
    """Takes any images, and makes something else of them."""

    def features(self, images: Tensor) -> Tensor:
        return super().features(images) * images.stride(1)


Kind = Callable[[], Flattens]
kinds = pytest.mark.parametrize(
    ("kind", "by_pixel"), [(Views, False), (ViewsBackwards, False), (ReadsStrides, False), (Flattens, True)]
)


def case(kind: Kind) -> tuple[Flattens, Tensor]:
    torch.manual_seed(0)
    return kind().double(), torch.randn(4, 3, 6, 6, dtype=torch.float64)


def layouts(model: nn.Module) -> list[bool]:
    """Whether what goes into the model lies by pixel, call by call from now on."""
    seen: list[bool] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(is_channels_last(inputs[0])))
    return seen


@kinds
def test_a_product_is_the_dense_one_in_either_layout(kind: Kind, by_pixel: bool) -> None:
    model, images = case(kind)
    vector = torch.linspace(-1.0, 1.0, sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    expected = dense_hessian(model, cross_entropy, (images, TARGETS)) @ vector
    op = HessianOperator(model, cross_entropy, (images, TARGETS), chunk_size=3)
    seen = layouts(model)
    torch.testing.assert_close(op @ vector, expected, rtol=1e-10, atol=1e-12)
    assert seen == [by_pixel, by_pixel]


@kinds
def test_a_trace_is_that_of_the_matrix_in_either_layout(kind: Kind, by_pixel: bool) -> None:
    model, images = case(kind)
    size = sum(p.numel() for p in model.parameters())
    matrix = GaussNewtonOperator(model, cross_entropy, (images, TARGETS)) @ torch.eye(size, dtype=torch.float64)
    assert exact_trace(model, cross_entropy, (images, TARGETS)).value == pytest.approx(float(matrix.trace()), rel=1e-10)
    assert SampleNorms(model, dict(model.named_parameters()), images[:2]).by_pixel == by_pixel


def test_what_raises_by_channel_raises_what_it_raises() -> None:
    class Fails(Flattens):
        def forward(self, images: Tensor) -> Tensor:
            raise KeyError("no such layer")

    model, images = case(Fails)
    with pytest.raises(KeyError, match="no such layer"):
        HessianOperator(model, cross_entropy, (images, TARGETS), chunk_size=2)


def test_the_callers_images_stay_as_they_lie() -> None:
    model, images = case(Flattens)
    before = images.clone()
    HessianOperator(model, cross_entropy, (images, TARGETS)).gradient()
    assert images.is_contiguous()
    assert torch.equal(images, before)

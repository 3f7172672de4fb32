"""Images are converted to channels_last only if the model then computes the same results."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d

from estimators import GaussNewtonOperator, HessianOperator, dense_hessian, exact_trace
from estimators.kernels.channels_last import is_channels_last
from estimators.problem.memory_format import same_but_for_rounding

TARGETS = torch.tensor([0, 1, 2, 0])


class Flattens(nn.Module):
    """Accepts any memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(3, 2, 3), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(self.features(images).flatten(1))
        return outputs

    def features(self, images: Tensor) -> Tensor:
        return max_pool2d(self.convolution(images).relu(), 2)


class Views(Flattens):
    """Fails for images in channels_last format."""

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
    """Fails for gradients in channels_last format."""

    def features(self, images: Tensor) -> Tensor:
        return max_pool2d(_ViewedBackwards.apply(self.convolution(images)).relu(), 2)


class ReadsStrides(Flattens):
    """Computes a different function of images in channels_last format."""

    def features(self, images: Tensor) -> Tensor:
        return super().features(images) * images.stride(1)


Kind = Callable[[], Flattens]
kinds = pytest.mark.parametrize(
    ("kind", "channels_last"), [(Views, False), (ViewsBackwards, False), (ReadsStrides, False), (Flattens, True)]
)


def case(kind: Kind) -> tuple[Flattens, Tensor]:
    torch.manual_seed(0)
    return kind().double(), torch.randn(4, 3, 6, 6, dtype=torch.float64)


def formats(model: nn.Module) -> list[bool]:
    """Whether the model's input is channels_last, call by call from now on."""
    seen: list[bool] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(is_channels_last(inputs[0])))
    return seen


@kinds
def test_product_equals_the_dense_product(kind: Kind, channels_last: bool) -> None:
    model, images = case(kind)
    vector = torch.linspace(-1.0, 1.0, sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    expected = dense_hessian(model, cross_entropy, (images, TARGETS)) @ vector
    op = HessianOperator(model, cross_entropy, (images, TARGETS), chunk_size=3)
    assert op.problem.channels_last == channels_last
    seen = formats(model)
    torch.testing.assert_close(op @ vector, expected, rtol=1e-10, atol=1e-12)
    assert seen == [channels_last, channels_last]


@kinds
def test_trace_equals_the_dense_trace(kind: Kind, channels_last: bool) -> None:
    model, images = case(kind)
    size = sum(p.numel() for p in model.parameters())
    matrix = GaussNewtonOperator(model, cross_entropy, (images, TARGETS)) @ torch.eye(size, dtype=torch.float64)
    seen = formats(model)
    assert exact_trace(model, cross_entropy, (images, TARGETS)).value == pytest.approx(float(matrix.trace()), rel=1e-10)
    # The last call is made by `linearity`.
    assert seen[-2:] == [channels_last, channels_last]


def test_an_error_of_the_model_is_raised_unchanged() -> None:
    class Fails(Flattens):
        def forward(self, images: Tensor) -> Tensor:
            raise KeyError("no such layer")

    model, images = case(Fails)
    with pytest.raises(KeyError, match="no such layer"):
        HessianOperator(model, cross_entropy, (images, TARGETS), chunk_size=2)


def test_the_images_of_the_caller_are_unchanged() -> None:
    model, images = case(Flattens)
    before = images.clone()
    HessianOperator(model, cross_entropy, (images, TARGETS)).gradient()
    assert images.is_contiguous()
    assert torch.equal(images, before)


def test_rounding_is_relative_to_the_largest_entry() -> None:
    expected = torch.tensor([1000.0, 0.0])
    assert same_but_for_rounding(torch.tensor([1000.0, 0.09]), expected)
    assert not same_but_for_rounding(torch.tensor([1000.0, 0.11]), expected)
    assert same_but_for_rounding(torch.tensor([1000.0, torch.nan]), expected)

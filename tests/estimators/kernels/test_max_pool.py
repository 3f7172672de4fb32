"""Max pooling equals torch's, and unpooling and gathering are transposes of each other."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from estimators.kernels.max_pool import Window, at_maxima, max_pool, max_unpool, relu_backward
from tests.estimators.cases import seeded

formats = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])


def relu(memory_format: torch.memory_format) -> Tensor:
    images = torch.randn(3, 2, 7, 6, dtype=torch.float64, generator=seeded(0)).relu()
    return images.contiguous(memory_format=memory_format)


def window(images: Tensor) -> Window:
    found = Window.of(images, 3, stride=2, padding=1)
    assert found is not None
    return found


@formats
def test_maxima_and_indices_equal_torch(memory_format: torch.memory_format) -> None:
    images = relu(memory_format)
    pooled, indices = max_pool(images, window(images))
    expected, places = F.max_pool2d(images, 3, 2, 1, return_indices=True)
    assert torch.equal(pooled, expected) and torch.equal(indices.long(), places)
    assert indices.dtype == torch.int32


@formats
def test_unpooling_is_the_transpose_of_gathering(memory_format: torch.memory_format) -> None:
    images = relu(memory_format)
    pooled, indices = max_pool(images, window(images))
    entries, large = torch.randn_like(pooled), torch.randn_like(images)
    left = (max_unpool(entries, indices, window(images)) * large).sum()
    torch.testing.assert_close(left, (entries * at_maxima(large, indices)).sum())


@formats
def test_gradient_of_nonpositive_maxima_is_zero(memory_format: torch.memory_format) -> None:
    pooled = torch.tensor([0.0, 2.0, torch.nan, 1.0]).view(1, 2, 2, 1).contiguous(memory_format=memory_format)
    found = relu_backward(torch.ones(1, 2, 2, 1), pooled)
    assert found.flatten().tolist() == [0.0, 1.0, 1.0, 1.0]
    out = torch.empty_like(pooled)
    assert torch.equal(relu_backward(torch.ones(1, 2, 2, 1), pooled, out=out), found) and torch.equal(out, found)


def test_pool_that_returns_indices_is_not_replaced() -> None:
    assert Window.of(torch.zeros(1, 1, 2, 2), 2, return_indices=True) is None

"""Inner products of long float32 vectors against float64."""

import pytest
import torch
from torch import Tensor

from estimators.operators.inner_products import coefficients, dot, norm

TOLERANCE = 3e-6
"""A sum of 8,192 float32 terms of one sign is off by up to 1.5e-6 on some processors."""
SIZES = [1, 5, 8192, 8193, 300_000]


def concentrated(size: int, seed: int) -> Tensor:
    """A vector with entries of very different sizes, as gradients have."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator) * torch.exp(3 * torch.randn(size, generator=generator))


@pytest.mark.parametrize("size", SIZES)
def test_results_are_accurate_to_the_rounding_of_the_dtype(size: int) -> None:
    first, second = concentrated(size, 0), concentrated(size, 1)
    a, b = first.double(), second.double()
    lengths = float(a.norm() * b.norm())
    assert float(norm(first)) == pytest.approx(float(a.norm()), rel=TOLERANCE)
    assert abs(float(dot(first, second) - a @ b)) <= TOLERANCE * lengths
    rows = torch.stack([first, second])
    errors = (coefficients(rows, second).double() - rows.double() @ b).abs()
    assert bool((errors <= TOLERANCE * b.norm() * rows.double().norm(dim=1)).all())


@pytest.mark.parametrize("size", [1, 100, 8191])
def test_short_vectors_have_the_bits_of_torch(size: int) -> None:
    first, second = concentrated(size, 0), concentrated(size, 1)
    assert float(norm(first)) == float(torch.linalg.vector_norm(first))
    assert float(dot(first, second)) == float(torch.dot(first, second))
    assert torch.equal(coefficients(first[None], second), first[None] @ second)

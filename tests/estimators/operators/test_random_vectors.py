"""Random vectors come from the given stream."""

import pytest
import torch

from estimators.operators.random_vectors import random_vector
from tests.estimators.cases import MatrixOperator, seeded

OP = MatrixOperator(torch.zeros(2000, 2000, dtype=torch.float64))


def test_gaussian_vector_is_drawn_from_the_generator() -> None:
    assert torch.equal(random_vector(OP, seeded(3)), torch.randn(2000, generator=seeded(3), dtype=torch.float64))


def test_a_rademacher_vector_has_independent_signs() -> None:
    vector = random_vector(OP, seeded(3), "rademacher")
    assert vector.dtype == torch.float64 and set(vector.tolist()) == {-1.0, 1.0}
    # Five standard errors.
    assert abs(float(vector.mean())) < 5 / 2000**0.5
    assert abs(float((vector[1:] * vector[:-1]).mean())) < 5 / 1999**0.5


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
def test_without_a_generator_the_global_stream_is_used(distribution: str) -> None:
    torch.manual_seed(5)
    first, second = (random_vector(OP, None, distribution) for _ in range(2))  # type: ignore[arg-type]
    torch.manual_seed(5)
    assert torch.equal(first, random_vector(OP, None, distribution))  # type: ignore[arg-type]
    assert not torch.equal(first, second)

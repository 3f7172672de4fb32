"""The start from a few samples lies near the top eigenvectors of all of them, and costs at most one product."""

import math
from dataclasses import dataclass, replace
from statistics import median

import pytest
import torch
from torch import Tensor

from estimators import HessianOperator, PreconditionedOperator
from estimators.eigenvalues.krylov import KrylovSpace
from estimators.eigenvalues.subset_start import steps, subset_start
from tests.estimators.cases import CASES, images, seeded


@dataclass
class SampledMatrix:
    """X'X / n for samples X [n, size]. Only their first entries, ``samples``, are not zero."""

    samples: Tensor
    size: int
    products: float = 0.0
    origin: "SampledMatrix | None" = None

    @property
    def dtype(self) -> torch.dtype:
        return self.samples.dtype

    @property
    def device(self) -> torch.device:
        return self.samples.device

    def gradient(self) -> Tensor:
        raise AssertionError("not needed")

    def in_chunks(self, fraction: float) -> "SampledMatrix":
        raise AssertionError("not needed")

    def chunkwise(self, *_: object) -> Tensor:
        raise AssertionError("not needed")

    def subset(self, fraction: float) -> "SampledMatrix":
        return replace(self, samples=self.samples[: math.ceil(fraction * len(self.samples))], origin=self)

    def matvec(self, vector: Tensor) -> Tensor:
        self.products += 1.0
        if self.origin is not None:
            self.origin.products += len(self.samples) / len(self.origin.samples)
        active, product = self.samples.shape[1], torch.zeros_like(vector)
        product[:active] = self.samples.T @ (self.samples @ vector[:active]) / len(self.samples)
        return product

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.matvec(vector)

    def top(self, vector: Tensor) -> float:
        """Length of the component of a unit vector in the space of the five top eigenvectors."""
        _, vectors = torch.linalg.eigh(self.samples.T @ self.samples / len(self.samples))
        return float((vectors[:, -5:].T @ vector[: len(vectors)]).norm() / vector.norm())


def sampled(seed: int, count: int = 400, size: int = 50_000) -> SampledMatrix:
    """Gaussian samples with variances of 10, 8, 6, 5 and 4, and fifty from 0 to 0.5."""
    variance = torch.cat([torch.tensor([10.0, 8.0, 6.0, 5.0, 4.0]), torch.linspace(0.0, 0.5, 50)]).double()
    draw = torch.randn(count, 55, dtype=torch.float64, generator=seeded(seed))
    return SampledMatrix(draw * variance.sqrt(), size)


def random(op: SampledMatrix, seed: int = 0) -> Tensor:
    return torch.randn(op.size, dtype=torch.float64, generator=seeded(seed))


def test_the_start_is_close_to_the_space_of_the_top_eigenvectors() -> None:
    op = sampled(0)
    assert op.top(subset_start(op, 5, 0.05, random(op))) > 0.8
    assert op.top(random(op)) < 0.05


@pytest.mark.parametrize(("fraction", "expected"), [(0.05, 20), (0.1, 10), (0.3, 3), (0.9, 1)])
def test_it_costs_at_most_one_product(fraction: float, expected: int) -> None:
    op = sampled(0)
    subset_start(op, 5, fraction, random(op))
    assert op.products == pytest.approx(expected * fraction) and op.products <= 1.0 + 1e-9
    assert steps(5) == 20


def steps_needed(op: SampledMatrix, start: Tensor) -> int:
    """Dimension of the Krylov space once its five largest Ritz values are within 1% of the eigenvalues."""
    exact = torch.linalg.eigvalsh(op.samples.T @ op.samples / len(op.samples)).flip(0)[:5]
    space = KrylovSpace(op, 30)
    space.start(start)
    for dimension in range(1, 30):
        space.expand()
        values = torch.tensor(space.ritz().values, dtype=torch.float64).flip(0)[:5]
        if dimension >= 5 and bool((values >= 0.99 * exact).all()):
            return dimension
    raise AssertionError("not within 30 steps")


def test_it_saves_products_over_all_samples() -> None:
    saved = []
    for seed in range(5):
        op = sampled(seed, count=4000)
        saved.append(steps_needed(op, random(op)) - steps_needed(op, subset_start(op, 5, 0.05, random(op, 1))))
    assert median(saved) >= 1, saved


def test_a_subset_that_is_not_finite_gives_the_random_vector() -> None:
    op = sampled(0)
    op.samples[0, 0] = math.nan
    assert torch.equal(subset_start(op, 5, 0.1, random(op)), random(op))


def test_a_subset_without_curvature_gives_a_usable_start() -> None:
    op = sampled(0)
    op.samples[:40] = 0.0
    start = subset_start(op, 5, 0.1, random(op))
    assert bool(start.isfinite().all()) and float(start.norm()) > 0.0


def test_it_counts_in_the_operator_also_through_a_preconditioner() -> None:
    case = CASES[0]
    op = HessianOperator(case.model(), case.loss_fn, images(60), chunk_size=7)
    wrapped = PreconditionedOperator(op, torch.full((op.size,), 4.0, dtype=op.dtype))
    start = torch.randn(op.size, dtype=op.dtype, generator=seeded(0))
    plain = subset_start(op, 1, 0.1, start)
    assert op.products == pytest.approx(1.0)
    assert abs(float(subset_start(wrapped, 1, 0.1, start) @ plain)) == pytest.approx(1.0, rel=1e-3)
    assert op.products == wrapped.products == pytest.approx(2.0)

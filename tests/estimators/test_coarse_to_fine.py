"""Lanczos that begins on some of the samples: what it saves, what it counts and what it refuses."""

import gc
import math
from dataclasses import dataclass, field
from statistics import median

import pytest
import torch
from torch import Tensor

from estimators import HessianOperator, hutchinson, lanczos
from tests.estimators.cases import CASES, MatrixOperator, images, operator, seeded


@dataclass
class SampledMatrix:
    """X'X / n for samples X [n, size], and over its first samples alone."""

    samples: Tensor
    parent: "SampledMatrix | None" = None
    products: float = 0.0
    seen: list[Tensor] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.samples.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.samples.dtype

    @property
    def device(self) -> torch.device:
        return self.samples.device

    def subset(self, fraction: float) -> "SampledMatrix":
        return SampledMatrix(self.samples[: math.ceil(fraction * len(self.samples))], parent=self)

    def matvec(self, vector: Tensor) -> Tensor:
        self.products += 1
        if self.parent is not None:
            self.parent.products += len(self.samples) / len(self.parent.samples)
        self.seen.append(vector.clone())
        return self.samples.T @ (self.samples @ vector) / len(self.samples)

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.matvec(vector)


def sampled(seed: int, count: int = 2000, size: int = 300, decay: float = 0.5) -> SampledMatrix:
    """Gaussian samples; the standard deviation of their i-th coordinate is i^-decay."""
    scale = torch.arange(1, size + 1, dtype=torch.float64) ** -decay
    return SampledMatrix(torch.randn(count, size, dtype=torch.float64, generator=seeded(seed)) * scale)


def exact(op: SampledMatrix) -> float:
    return float(torch.linalg.eigvalsh(op.samples.T @ op.samples / len(op.samples))[-1])


def test_products_of_a_subset_count_as_fractions_and_stay_within_the_limit() -> None:
    op = sampled(0)
    result = lanczos(op, 6, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    coarse = result.products - len(result.history)
    assert 0.1 < coarse <= 2.0
    assert 10 * coarse == pytest.approx(round(10 * coarse))
    assert 5.0 < result.products == op.products <= 6.0 + 1e-9


def test_at_most_the_given_products_go_to_the_coarse_stage() -> None:
    result = lanczos(sampled(0), 6, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1, coarse_products=0.3)
    assert result.products == pytest.approx(5.3)
    assert len(result.history) == 5


def test_all_but_the_products_is_of_the_matrix_over_all_samples() -> None:
    op = sampled(1)
    result = lanczos(op, 6, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    steps = len(result.history)
    products = torch.stack([op @ column for column in result.basis.T.contiguous()], dim=1)
    torch.testing.assert_close(result.basis.T @ result.basis, torch.eye(steps).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(result.basis.T @ products, result.tridiagonal, rtol=0, atol=1e-13)
    assert float(result.vector.norm()) == pytest.approx(1.0)
    found = float((op @ result.vector - result.lambda_max * result.vector).norm())
    assert found == pytest.approx(result.residual, rel=1e-6)


def test_it_reaches_a_thousandth_sooner_than_from_a_random_start() -> None:
    saved = []
    for seed in range(12):
        op = sampled(seed, count=5000)
        largest = exact(op)
        needed = []
        for fraction in (None, 0.1):
            result = lanczos(op, 20, tolerance=0.0, generator=seeded(seed), coarse_fraction=fraction)
            before = result.products - len(result.history)
            needed.append(before + next(i for i, value in enumerate(result.history, 1) if value > 0.999 * largest))
        saved.append(needed[0] - needed[1])
    assert median(saved) >= 2.0


def test_converged_after_a_coarse_stage_is_true() -> None:
    said = 0
    for seed in range(60):
        op = sampled(seed, count=1000, size=150, decay=0.3 + 0.1 * (seed % 7))
        result = lanczos(op, 10, tolerance=1e-3, generator=seeded(seed), coarse_fraction=0.1)
        if result.converged:
            said += 1
            assert result.lambda_max == pytest.approx(exact(op), rel=1e-3)
    assert said >= 40


def test_the_same_generator_gives_the_same_bits_and_the_global_stream_stays() -> None:
    state = torch.get_rng_state()
    first, again, other = (
        lanczos(sampled(0), 5, tolerance=0.0, generator=seeded(seed), coarse_fraction=0.1).history for seed in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_the_start_has_a_random_part() -> None:
    """All but the last coordinate are the same in all samples of the tenth: its coarse stage cannot know the last."""
    samples = torch.zeros(100, 50, dtype=torch.float64)
    samples[:10, 0] = 1.0
    samples[10:, -1] = 2.0
    op = SampledMatrix(samples)
    result = lanczos(op, 8, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    assert result.lambda_max == pytest.approx(3.6)


def test_the_coarse_basis_is_gone_before_that_of_all_samples_is_made() -> None:
    size, alive = 4001, []

    class Watched(SampledMatrix):
        def matvec(self, vector: Tensor) -> Tensor:
            rows = [o.shape[0] for o in gc.get_objects() if isinstance(o, Tensor) and o.shape[1:] == (size,)]
            alive.append(sorted(rows))
            return super().matvec(vector)

    samples = torch.randn(40, size, generator=seeded(0))
    lanczos(Watched(samples), 4, tolerance=0.0, generator=seeded(0), coarse_fraction=0.5, coarse_products=1.5)
    # The one basis, of two rows where that of the coarse stage has three, and the samples.
    assert alive == [[2, 20, 40], [2, 20, 40]]


def test_a_hessian_is_measured_coarse_to_fine() -> None:
    case = CASES[0]
    inputs, targets = images(60)
    op = HessianOperator(case.model(), case.loss_fn, (inputs, targets), chunk_size=7)
    everything = lanczos(op, op.size, tolerance=0.0, generator=seeded(0))
    result = lanczos(op, 12, tolerance=1e-3, generator=seeded(1), coarse_fraction=0.25)
    assert result.converged and result.lambda_max == pytest.approx(everything.lambda_max, rel=1e-3)
    assert result.products % 1 == pytest.approx(0.25 * round(result.products % 1 / 0.25))
    assert math.isfinite(hutchinson(op, 3, deflate=result, generator=seeded(2)).value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_coarse_stage_that_is_not_finite_is_told_as_such(value: float) -> None:
    op = sampled(0)
    op.samples[3, 4] = value
    result = lanczos(op, 5, generator=seeded(0), coarse_fraction=0.1)
    assert not result.converged and math.isnan(result.lambda_max)
    assert result.products == pytest.approx(1.1)


def test_no_curvature_on_the_tenth_is_no_obstacle() -> None:
    samples = sampled(0).samples
    samples[:200] = 0.0
    result = lanczos(SampledMatrix(samples), 30, generator=seeded(0), coarse_fraction=0.1)
    assert result.converged and result.lambda_max == pytest.approx(exact(SampledMatrix(samples)), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"coarse_fraction": 0.0},
            r"coarse_fraction is 0.0, expected a share of the samples in \(0, 1\): 0.1 is usual",
        ),
        ({"coarse_fraction": 1.0}, "coarse_fraction is 1.0, expected a share"),
        ({"coarse_fraction": math.nan}, "coarse_fraction is nan, expected a share"),
        (
            {"coarse_fraction": 0.1, "coarse_products": 0.05},
            "coarse_products is 0.05 and max_products 10, exp",
        ),
        ({"coarse_fraction": 0.1, "coarse_products": math.nan}, "coarse_products is nan and max_products 10"),
        (
            {"coarse_fraction": 0.1, "max_products": 1},
            "coarse_products is 2.0 and max_products 1, expe",
        ),
        ({"coarse_fraction": 0.1, "initial": torch.ones(20)}, "initial and coarse_fraction exclude each other"),
    ],
)
def test_bad_arguments_are_refused(options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        lanczos(sampled(0, size=20), **options)


def test_an_operator_without_subsets_is_refused() -> None:
    message = r"coarse_fraction is 0.1, but MatrixOperator has no subset\(fraction\) as HessianOperator has: leave"
    with pytest.raises(ValueError, match=message):
        lanczos(MatrixOperator(torch.eye(3)), coarse_fraction=0.1)


def test_subsets_count_by_their_samples() -> None:
    op = operator(CASES[0])
    result = lanczos(op, 4, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    # A tenth of eight samples is one of them.
    assert 8 * (result.products - len(result.history)) == pytest.approx(round(8 * (result.products - 3)), abs=8)
    assert result.products <= 4.0


def test_a_coarse_stage_dearer_than_thought_leaves_a_product() -> None:
    op = operator(CASES[0])  # of eight samples: a tenth is an eighth
    result = lanczos(op, 2, tolerance=0.0, generator=seeded(0), coarse_fraction=0.01)
    assert len(result.history) == 1
    assert math.isfinite(result.lambda_max)

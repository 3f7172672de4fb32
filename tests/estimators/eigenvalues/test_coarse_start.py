"""Tests how many products the coarse start of Lanczos saves and counts, and which arguments it rejects."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

import pytest
import torch
from torch import Tensor

from estimators import HessianOperator, hutchinson, lanczos
from estimators.eigenvalues import coarse_start as coarse_start_module
from estimators.eigenvalues.coarse_start import coarse_start
from tests.estimators.cases import CASES, MatrixOperator, images, operator, seeded


@dataclass
class SampledMatrix:
    """X'X / n for samples X [n, size]: the curvature of ||X w||^2 / 2n - b'w at w = 0, with the gradient -b."""

    samples: Tensor
    slope: Tensor
    chunk: int = 10**9
    products: float = 0.0
    seen: list[Tensor] = field(default_factory=list)
    origin: "SampledMatrix | None" = None

    @property
    def size(self) -> int:
        return self.samples.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.samples.dtype

    @property
    def device(self) -> torch.device:
        return self.samples.device

    def gradient(self) -> Tensor:
        return -self.slope

    def subset(self, fraction: float) -> "SampledMatrix":
        return replace(self, samples=self.samples[: math.ceil(fraction * len(self.samples))], origin=self)

    def in_chunks(self, fraction: float) -> "SampledMatrix":
        return replace(self, chunk=math.ceil(fraction * len(self.samples)), origin=self)

    def chunkwise(self, vector: Tensor, update: Callable[[Tensor, Tensor], Tensor], max_chunks: int) -> Tensor:
        self._count()
        for part in self.samples.split(self.chunk)[:max_chunks]:
            vector = update(vector, part.T @ (part @ vector) / len(part))
        return vector

    def matvec(self, vector: Tensor) -> Tensor:
        self._count()
        self.seen.append(vector.clone())
        return self.samples.T @ (self.samples @ vector) / len(self.samples)

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.matvec(vector)

    def _count(self) -> None:
        self.products += 1
        if self.origin is not None:
            self.origin.products += 1


def sampled(seed: int, count: int = 2000, size: int = 300, decay: float = 0.5) -> SampledMatrix:
    """Gaussian samples with standard deviation i^-decay in coordinate i."""
    scale = torch.arange(1, size + 1, dtype=torch.float64) ** -decay
    samples = torch.randn(count, size, dtype=torch.float64, generator=seeded(seed)) * scale
    # The gradient's components along eigenvectors are about proportional to the eigenvalues.
    return SampledMatrix(samples, scale * torch.randn(size, dtype=torch.float64, generator=seeded(1000 + seed)))


def exact(op: SampledMatrix) -> float:
    return float(torch.linalg.eigvalsh(op.samples.T @ op.samples / len(op.samples))[-1])


def test_the_coarse_stage_counts_as_one_product() -> None:
    op = sampled(0)
    result = lanczos(op, 6, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    assert len(result.history) == 5
    assert result.products == op.products == 6.0


def test_results_describe_the_matrix_over_all_samples() -> None:
    op = sampled(1)
    result = lanczos(op, 6, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    steps = len(result.history)
    products = torch.stack([op @ column for column in result.basis.T.contiguous()], dim=1)
    torch.testing.assert_close(result.basis.T @ result.basis, torch.eye(steps).double(), rtol=0, atol=1e-13)
    torch.testing.assert_close(result.basis.T @ products, result.tridiagonal, rtol=0, atol=1e-13)
    assert float(result.vector.norm()) == pytest.approx(1.0)
    found = float((op @ result.vector - result.lambda_max * result.vector).norm())
    assert found == pytest.approx(result.residual, rel=1e-6)


def test_coarse_start_reaches_relative_error_0_001_with_fewer_products_than_random_start() -> None:
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
    assert median(saved) >= 1.0


def test_converged_results_are_within_the_tolerance() -> None:
    converged = 0
    for seed in range(60):
        op = sampled(seed, count=1000, size=150, decay=0.3 + 0.1 * (seed % 7))
        result = lanczos(op, 10, tolerance=1e-3, generator=seeded(seed), coarse_fraction=0.1)
        if result.converged:
            converged += 1
            assert result.lambda_max == pytest.approx(exact(op), rel=1e-3)
    assert converged >= 40


def test_the_second_vector_finds_an_eigenvector_missing_from_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two eigenvalues are close and the gradient is along the second; with one vector, Lanczos stagnates there."""
    wrong = {0.0: 0, coarse_start_module._SECOND: 0}
    for share in wrong:
        monkeypatch.setattr(coarse_start_module, "_SECOND", share)
        for seed in range(20):
            op = sampled(seed, size=100, decay=1.0)
            op.samples[:, 1] *= 1.95
            _, vectors = torch.linalg.eigh(op.samples.T @ op.samples / len(op.samples))
            others = torch.randn(98, dtype=torch.float64, generator=seeded(seed))
            op.slope = vectors[:, -2] + 0.03 * vectors[:, :-2] @ others
            result = lanczos(op, 12, tolerance=1e-3, generator=seeded(seed), coarse_fraction=0.1)
            wrong[share] += result.converged and abs(result.lambda_max / exact(op) - 1.0) > 1e-3
    without, with_it = wrong.values()
    assert without >= 12
    assert with_it <= 5


def test_given_generator_determines_the_result_and_global_one_is_unused() -> None:
    state = torch.get_rng_state()
    first, again, other = (
        lanczos(sampled(0), 5, tolerance=0.0, generator=seeded(seed), coarse_fraction=0.1).history for seed in (0, 0, 1)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), state)


def test_random_part_finds_an_eigenvector_orthogonal_to_the_start() -> None:
    """Neither the gradient nor its products have a component along the last coordinate."""
    samples = torch.zeros(100, 50, dtype=torch.float64)
    samples[::2, 0] = 1.0
    samples[1::2, -1] = 2.0
    slope = torch.zeros(50, dtype=torch.float64)
    slope[0] = 1.0
    result = lanczos(SampledMatrix(samples, slope), 8, tolerance=0.0, generator=seeded(0), coarse_fraction=0.1)
    assert result.lambda_max == pytest.approx(2.0)


def test_a_zero_gradient_is_replaced_by_a_random_start() -> None:
    op = sampled(3)
    op.slope = torch.zeros_like(op.slope)
    result = lanczos(op, 30, tolerance=1e-3, generator=seeded(0), coarse_fraction=0.1)
    assert result.converged and result.lambda_max == pytest.approx(exact(op), rel=1e-3)


def test_chunkwise_pass_ends_near_the_top_eigenvectors() -> None:
    """The result is closer than after one product over all samples, since n chunks make n steps."""
    op = sampled(4, count=5000)
    values, vectors = torch.linalg.eigh(op.samples.T @ op.samples / len(op.samples))
    start = coarse_start(op, 0.1, torch.ones(op.size).double())
    product = op @ op.gradient()
    assert float(start.norm()) == pytest.approx(1.0)
    near = float((vectors[:, -3:].T @ start).norm())
    assert near > float((vectors[:, -3:].T @ (product / product.norm())).norm())
    assert near > 0.9, values[-5:]


def test_coarse_start_works_with_a_hessian_operator() -> None:
    case = CASES[0]
    inputs, targets = images(60)
    op = HessianOperator(case.model(), case.loss_fn, (inputs, targets), chunk_size=7)
    everything = lanczos(op, op.size, tolerance=0.0, generator=seeded(0), coarse_fraction=None)
    result = lanczos(op, 12, tolerance=1e-3, generator=seeded(1), coarse_fraction=0.25)
    assert result.converged and result.lambda_max == pytest.approx(everything.lambda_max, rel=1e-3)
    assert result.products == len(result.history) + 1
    assert math.isfinite(hutchinson(op, 3, deflate=result, generator=seeded(2)).value)


@pytest.mark.parametrize("budget", [0, 2**30])
def test_kept_graphs_give_bit_identical_results(budget: int) -> None:
    case = CASES[0]
    op = HessianOperator(case.model(), case.loss_fn, images(60), chunk_size=7, memory_budget=budget)
    ones = torch.ones(op.size, dtype=op.dtype)
    start = coarse_start(op, 0.1, ones)
    with op.keeping_graphs():
        op @ ones
        assert torch.equal(coarse_start(op, 0.1, ones), start)


def test_products_in_smaller_chunks_count_in_the_original_operator() -> None:
    case = CASES[0]
    op = HessianOperator(case.model(), case.loss_fn, images(60), chunk_size=50)
    seen = []

    def stay(vector: Tensor, product: Tensor) -> Tensor:
        seen.append(product)
        return vector

    vector = torch.randn(op.size, dtype=op.dtype, generator=seeded(0))
    parts = op.in_chunks(0.1)
    assert parts.chunkwise(vector, stay, max_chunks=20) is vector
    assert (parts.chunk_size, len(seen), op.products, parts.products) == (6, 10, 1.0, 1.0)
    torch.testing.assert_close(torch.stack(seen).mean(0), op @ vector, rtol=1e-4, atol=1e-6)
    parts.chunkwise(vector, stay, max_chunks=3)
    assert (len(seen), parts.products) == (13, 1.3)
    torch.testing.assert_close(torch.stack(seen[10:]), torch.stack(seen[:3]))


def test_the_start_uses_at_most_24_chunks() -> None:
    case = CASES[0]
    op = HessianOperator(case.model(), case.loss_fn, images(60), chunk_size=2)
    coarse_start(op, 0.9, torch.ones(op.size, dtype=op.dtype))
    assert op.products == 24 * 2 / 60


def test_in_chunks_returns_the_operator_if_its_chunks_are_small_enough() -> None:
    case = CASES[0]
    op = HessianOperator(case.model(), case.loss_fn, images(60), chunk_size=50)
    parts = op.in_chunks(0.1)
    assert op.in_chunks(0.9) is op
    assert parts.in_chunks(0.1) is parts


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nonfinite_coarse_stage_gives_nan(value: float) -> None:
    op = sampled(0)
    op.samples[3, 4] = value
    result = lanczos(op, 5, generator=seeded(0), coarse_fraction=0.1)
    assert not result.converged and math.isnan(result.lambda_max)
    assert result.products == 2.0


def test_chunks_without_curvature_are_harmless() -> None:
    op = sampled(0)
    op.samples[:400] = 0.0
    result = lanczos(op, 30, generator=seeded(0), coarse_fraction=0.1)
    assert result.converged and result.lambda_max == pytest.approx(exact(op), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"coarse_fraction": 0.0},
            r"coarse_fraction is 0.0, expected a share of the samples in \(0, 1\) \(0.1 is usual\), .*or None",
        ),
        ({"coarse_fraction": 1.0}, "coarse_fraction is 1.0, expected a share"),
        ({"coarse_fraction": math.nan}, "coarse_fraction is nan, expected a share"),
        (
            {"coarse_fraction": 0.1, "max_products": 1},
            "max_products is 1, expected at least 2 with a coarse_fraction: 10 is usual",
        ),
        (
            {"coarse_fraction": 0.1, "initial": torch.ones(20)},
            "initial and coarse_fraction are both given, expected one",
        ),
    ],
)
def test_bad_arguments_are_rejected(options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        lanczos(sampled(0, size=20), **options)


def test_an_operator_without_chunks_is_rejected() -> None:
    message = (
        r"coarse_fraction is 0.1, but MatrixOperator has no in_chunks\(fraction\), expected .* HessianOperator: leave"
    )
    with pytest.raises(ValueError, match=message):
        lanczos(MatrixOperator(torch.eye(3)), coarse_fraction=0.1)


def test_fractions_below_one_sample_give_chunks_of_one() -> None:
    op = operator(CASES[0])
    result = lanczos(op, 4, tolerance=0.0, generator=seeded(0), coarse_fraction=0.01)
    assert result.products == 4.0 and math.isfinite(result.lambda_max)

"""Hutchinson's estimator: moments of its samples, deflation and errors."""

import importlib
import math
import statistics
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from estimators import hutchinson, lanczos, required_probes
from estimators.operators.random_vectors import Distribution
from tests.estimators.cases import CASES, Case, MatrixOperator, counting_operator, operator, seeded, symmetric
from tests.estimators.dense import dense_hessian_of
from tests.estimators.trace.batched_probes import batched_results, draw

# The public function of this name hides the module.
MODULE = importlib.import_module("estimators.trace.hutchinson")
EIGENVALUES = [5.0, -3.0, 2.0, 1.0, 0.5, 0.1, -0.2, 0.3]
MANY = 20_000


def sample_variance(matrix: Tensor, distribution: Distribution) -> float:
    """2 ||H||_F^2 for Gaussian, 2 (||H||_F^2 - sum H_ii^2) for Rademacher probes."""
    squares = float((matrix**2).sum())
    return 2 * squares if distribution == "gaussian" else 2 * (squares - float((matrix.diagonal() ** 2).sum()))


both = pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])


@both
@pytest.mark.parametrize("deflated", [False, True])
def test_batched_results_equal_those_of_hutchinson(
    distribution: Distribution, deflated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    op = MatrixOperator(symmetric(EIGENVALUES))
    subspace = lanczos(op, 3, tolerance=0.0, generator=seeded(1)) if deflated else None
    vectors = draw((5, 10, op.size), distribution)
    stream = iter(vectors.flatten(0, 1))
    monkeypatch.setattr(MODULE, "random_vector", lambda *_: next(stream))
    for batched in batched_results(op.matrix, vectors, distribution, subspace):
        expected = hutchinson(op, 10, distribution, deflate=subspace)
        assert batched.value == pytest.approx(expected.value, rel=1e-12)
        assert batched.frobenius == pytest.approx(expected.frobenius, rel=1e-12)
        assert batched.standard_error == pytest.approx(expected.standard_error, rel=1e-9)
        assert batched.samples == pytest.approx(expected.samples, rel=1e-12)
        assert batched.squared_norms == pytest.approx(expected.squared_norms, rel=1e-11)
        assert batched.variance == pytest.approx(expected.variance, rel=1e-11)


@both
def test_mean_and_variance_of_the_samples_match_theory(distribution: Distribution) -> None:
    matrix = symmetric(EIGENVALUES)
    (result,) = batched_results(matrix, draw((1, MANY, 8), distribution), distribution)
    variance = sample_variance(matrix, distribution)
    assert abs(result.value - sum(EIGENVALUES)) < 4 * math.sqrt(variance / MANY)
    assert statistics.variance(result.samples) == pytest.approx(variance, rel=0.05)
    assert result.standard_error == pytest.approx(math.sqrt(variance / MANY), rel=0.03)
    frobenius = math.sqrt(float((matrix**2).sum()))
    assert result.variance == pytest.approx(variance, rel=0.02)
    assert result.frobenius == pytest.approx(frobenius, rel=0.02)
    assert result.effective_rank == pytest.approx(sum(EIGENVALUES) ** 2 / frobenius**2, rel=0.04)


@both
def test_deflation_is_unbiased_with_the_variance_of_the_complement(distribution: Distribution) -> None:
    matrix = symmetric(EIGENVALUES)
    op = MatrixOperator(matrix)
    subspace = lanczos(op, 3, tolerance=0.0, generator=seeded(1))
    (result,) = batched_results(matrix, draw((1, MANY, 8), distribution), distribution, subspace)
    projection = torch.eye(8, dtype=torch.float64) - subspace.basis @ subspace.basis.T
    complement = projection @ matrix @ projection
    variance = sample_variance(complement, distribution)
    assert variance < 0.5 * sample_variance(matrix, "gaussian")
    assert abs(result.value - sum(EIGENVALUES)) < 4 * math.sqrt(variance / MANY)
    assert statistics.variance(result.samples) == pytest.approx(variance, rel=0.05)
    assert result.variance == pytest.approx(variance, rel=0.02)
    assert statistics.mean(result.squared_norms) == pytest.approx(float((complement**2).sum()), rel=0.02)
    assert result.frobenius == pytest.approx(float(matrix.norm()), rel=0.01)


@both
@pytest.mark.parametrize("deflated", [False, True])
def test_norms_and_variances_have_no_bias(distribution: Distribution, deflated: bool) -> None:
    """Means over 1,500 results of four probes each."""
    matrix = symmetric(EIGENVALUES)
    subspace = lanczos(MatrixOperator(matrix), 2, tolerance=0.0, generator=seeded(1)) if deflated else None
    results = batched_results(matrix, draw((1500, 4, 8), distribution), distribution, subspace)
    projection = torch.eye(8, dtype=torch.float64)
    if subspace is not None:
        projection = projection - subspace.basis @ subspace.basis.T
    variance = sample_variance(projection @ matrix @ projection, distribution)
    for values, expected in (
        ([result.frobenius**2 for result in results], float((matrix**2).sum())),
        ([result.variance for result in results], variance),
        ([result.standard_error**2 for result in results], variance / 4),
    ):
        assert abs(statistics.mean(values) - expected) < 4 * statistics.stdev(values) / math.sqrt(1500)
    # More precise than the spread of the samples.
    assert statistics.stdev(r.variance for r in results) < 0.5 * statistics.stdev(
        4 * r.standard_error**2 for r in results
    )


@both
def test_deflating_the_whole_space_is_exact(distribution: Distribution) -> None:
    op = MatrixOperator(symmetric(EIGENVALUES))
    subspace = lanczos(op, 8, tolerance=0.0, generator=seeded(1))
    result = hutchinson(op, 3, distribution, deflate=subspace, generator=seeded(0))
    assert result.samples == pytest.approx([sum(EIGENVALUES)] * 3, rel=1e-12)


def test_rademacher_probes_are_exact_on_a_diagonal() -> None:
    matrix = torch.diag(torch.tensor([0.1, 2.0, 4.0]))
    result = hutchinson(MatrixOperator(matrix), 5, "rademacher", generator=seeded(0))
    assert result.value == pytest.approx(6.1) and len(set(result.samples)) == 1
    assert result.standard_error == result.variance == 0.0
    assert result.interval() == (result.value, result.value)
    assert result.frobenius == pytest.approx(math.sqrt(20.01))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_equals_algorithm_1_on_the_same_vectors(case: Case) -> None:
    """Trace as printed in the paper, lines 12 to 20."""
    op = operator(case)
    hessian = dense_hessian_of(case)
    generator, running = seeded(2), []
    for _ in range(10):
        v = torch.randn(op.size, dtype=torch.float64, generator=generator)
        running.append(float(v @ (hessian @ v)))
    result = hutchinson(op, probes=10, generator=seeded(2))
    scale = float(hessian.abs().sum())
    assert result.samples == pytest.approx(running, rel=1e-9, abs=1e-12 * scale)
    assert result.value == pytest.approx(sum(running) / 10, rel=1e-9, abs=1e-12 * scale)
    assert result.products == op.products == 10.0


def test_the_standard_error_equals_its_formula() -> None:
    result = hutchinson(MatrixOperator(symmetric(EIGENVALUES)), 7, generator=seeded(0))
    assert result.value == pytest.approx(statistics.mean(result.samples))
    assert result.standard_error == pytest.approx(statistics.stdev(result.samples) / math.sqrt(7))


def test_a_single_probe_has_no_standard_error() -> None:
    result = hutchinson(MatrixOperator(torch.eye(3)), 1, generator=seeded(0))
    assert math.isnan(result.standard_error) and math.isnan(result.variance) and len(result.samples) == 1
    assert math.isnan(result.effective_rank)
    assert result.interval() == result.interval(method="chebyshev") == (-math.inf, math.inf)


def test_nan_gives_nan() -> None:
    result = hutchinson(MatrixOperator(torch.full((3, 3), math.nan)), 4, generator=seeded(0))
    assert all(math.isnan(x) for x in (result.value, result.standard_error, *result.interval()))


@both
def test_overflow_raises_no_exception(distribution: Distribution) -> None:
    """Samples of plus and minus infinity, in float32."""
    matrix = torch.tensor([[3e38, 0.0], [0.0, -3e38]]).roll(1, 0) + torch.diag(torch.tensor([3e38, -3e38]))
    result = hutchinson(MatrixOperator(matrix), 30, distribution, generator=seeded(0))
    assert not all(map(math.isfinite, result.samples))
    assert not math.isfinite(result.value) and not math.isfinite(result.standard_error)
    assert result.frobenius == math.inf
    for method in ("student", "chebyshev"):
        assert not any(map(math.isfinite, result.interval(method=method)))  # type: ignore[arg-type]


def test_errors_above_the_bound_are_rare_with_required_probes() -> None:
    matrix = symmetric(EIGENVALUES)
    trace, std = sum(EIGENVALUES), math.sqrt(sample_variance(matrix, "gaussian"))
    count = math.ceil(required_probes(trace, std, epsilon=0.5, epsilon_abs=0.0, delta=0.2))
    generator = seeded(0)
    values = [hutchinson(MatrixOperator(matrix), count, generator=generator).value for _ in range(300)]
    assert sum(abs(value - trace) >= 0.5 * trace for value in values) / 300 <= 0.2


@dataclass
class Subspace:
    basis: Tensor
    tridiagonal: Tensor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 0}, "probes is 0, expected at least 1"),
        ({"distribution": "uniform"}, 'distribution is \'uniform\', expected "gaussian" or "rademacher"'),
        (
            {"deflate": Subspace(torch.eye(4), torch.eye(4))},
            r"deflate has a basis of shape \(4, 4\).*expected \[3, k\]",
        ),
        ({"deflate": Subspace(torch.eye(3).double(), torch.eye(3))}, "torch.float64.*expected .* torch.float32"),
        ({"deflate": Subspace(torch.eye(3)[:, :2], torch.eye(3))}, r"tridiagonal of shape \(3, 3\)"),
    ],
)
def test_bad_arguments_are_rejected(options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        hutchinson(MatrixOperator(torch.eye(3)), **options)


def test_the_repr_is_short() -> None:
    assert len(repr(hutchinson(MatrixOperator(torch.eye(3)), 500, generator=seeded(0)))) < 150


@both
@pytest.mark.parametrize("deflated", [False, True])
def test_a_zero_matrix_has_trace_zero(distribution: Distribution, deflated: bool) -> None:
    op = MatrixOperator(torch.zeros(5, 5))
    subspace = lanczos(op, generator=seeded(1)) if deflated else None
    result = hutchinson(op, 3, distribution, deflate=subspace, generator=seeded(0))
    assert result.value == result.standard_error == result.frobenius == result.variance == 0.0
    assert math.isnan(result.effective_rank)
    assert result.interval() == result.interval(method="chebyshev") == (0.0, 0.0)


def test_the_effective_rank_of_a_projection_is_its_rank() -> None:
    matrix = symmetric([1.0] * 6 + [0.0] * 30)
    assert hutchinson(MatrixOperator(matrix), 5000, generator=seeded(0)).effective_rank == pytest.approx(6.0, rel=0.03)
    opposite = symmetric([1.0, -1.0] * 6)
    assert hutchinson(MatrixOperator(opposite), 5000, generator=seeded(0)).effective_rank < 0.01


# The function hides its module in the package.
MODULE = importlib.import_module("estimators.trace.hutchinson")


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher"])
@pytest.mark.parametrize("deflated", [False, True])
def test_samples_do_not_depend_on_the_block_size(
    distribution: str, deflated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    op = operator(CASES[0])
    subspace = lanczos(op, 4, tolerance=0.0, generator=seeded(3)) if deflated else None
    results = []
    for vectors_in_block in (1, 3, 100):
        monkeypatch.setattr(MODULE, "_BLOCK_BYTES", vectors_in_block * op.size * 8)
        results.append(hutchinson(op, 7, distribution, subspace, seeded(0)))  # type: ignore[arg-type]
    assert results[0].samples == results[1].samples == results[2].samples
    assert results[0].frobenius == results[1].frobenius == results[2].frobenius
    assert [result.products for result in results] == [7.0] * 3


def test_probes_share_the_graphs_of_a_pass() -> None:
    model, op = counting_operator(memory_budget=0)
    hutchinson(op, 10, generator=seeded(0))
    assert model.forwards == 4


class WithMatmat(MatrixOperator):
    """A matrix that multiplies blocks and records their widths."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix)
        self.widths: list[int] = []

    def matmat(self, vectors: Tensor) -> Tensor:
        self.widths.append(vectors.shape[1])
        return torch.stack([self.matvec(vector) for vector in vectors.T.contiguous()], dim=1)


def test_the_memory_of_blocks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    op = WithMatmat(symmetric([3.0, 1.0, -1.0]))
    monkeypatch.setattr(MODULE, "_BLOCK_BYTES", 4 * 3 * 8)
    result = hutchinson(op, 10, generator=seeded(0))
    assert op.widths == [4, 4, 2]
    assert result.samples == hutchinson(MatrixOperator(op.matrix), 10, generator=seeded(0)).samples

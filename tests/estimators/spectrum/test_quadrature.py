"""Quadrature rules against moments of dense matrices, and distances against SciPy."""

import pytest
import torch
from scipy import stats

from estimators.spectrum.quadrature import Quadrature, averaged, gauss, wasserstein
from tests.estimators.cases import seeded, symmetric


def tridiagonal(steps: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A matrix, a unit vector and its tridiagonal matrix by dense Gram-Schmidt on the Krylov vectors."""
    matrix = symmetric(torch.linspace(-1.0, 2.0, 30, dtype=torch.float64))
    start = torch.randn(30, dtype=torch.float64, generator=seeded(1))
    vectors = [start / start.norm()]
    for _ in range(steps - 1):
        krylov = torch.stack([*vectors, matrix @ vectors[-1]], dim=1)
        vectors.append(torch.linalg.qr(krylov).Q[:, -1])
    basis = torch.stack(vectors, dim=1)
    return matrix, basis[:, 0], basis.T @ matrix @ basis


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize("build", [gauss, averaged])
def test_rules_are_exact_for_polynomials_up_to_twice_the_steps_minus_one(steps: int, build) -> None:  # type: ignore[no-untyped-def]
    matrix, start, projected = tridiagonal(steps)
    rule = build(projected)
    assert rule.nodes.shape == (1, steps if build is gauss or steps == 1 else 2 * steps - 1)
    for power in range(2 * steps):
        expected = float(start @ torch.linalg.matrix_power(matrix, power) @ start)
        assert float(rule.mean(rule.nodes**power)) == pytest.approx(expected, abs=1e-12)


def test_a_non_finite_matrix_gives_nan() -> None:
    rule = gauss(torch.full((2, 2), torch.nan, dtype=torch.float64))
    assert rule.nodes.isnan().all() and rule.weights.isnan().all()


def test_stacked_rules_keep_their_integrals() -> None:
    rules = [Quadrature(torch.tensor([[1.0]]), torch.tensor([[1.0]])), gauss(torch.diag(torch.tensor([2.0, 3.0])))]
    stacked = Quadrature.stacked(rules)
    assert stacked.nodes.tolist() == [[1.0, 1.0], [2.0, 3.0]] and stacked.weights.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    nodes, weights = stacked.sorted_measure()
    assert nodes.tolist() == [1.0, 1.0, 2.0, 3.0] and weights.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_distances_equal_those_of_scipy() -> None:
    nodes, others = torch.randn(2, 9, dtype=torch.float64, generator=seeded(2))
    weights, other_weights = torch.rand(2, 9, dtype=torch.float64, generator=seeded(3))
    weights, other_weights = weights / weights.sum(), other_weights / other_weights.sum()
    expected = stats.wasserstein_distance(nodes, others, weights, other_weights)
    found = wasserstein(torch.cat([nodes, others]), torch.cat([weights, -other_weights]))
    assert found == pytest.approx(expected, rel=1e-12)

"""The bound for missed eigenvalues holds as often as claimed, and is close."""

import math

import torch
from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.eigenvalues.random_chain import PROBABILITY, RandomChain
from tests.estimators.cases import MatrixOperator, seeded


def space_without(missed: float, size: int = 400) -> KrylovSpace:
    """Two eigenvectors of a diagonal matrix, which lacks ``missed``; the others are in [-0.5, 1]."""
    values = torch.cat([torch.tensor([5.0, 4.0, missed]), torch.linspace(-0.5, 1.0, size - 3)]).double()
    space = KrylovSpace(MatrixOperator(torch.diag(values)), 20)
    start = torch.zeros(size, dtype=torch.float64)
    start[:2] = 1.0
    space.start(start)
    space.expand()
    space.expand()
    return space


def chain(missed: float, steps: int, seed: int) -> RandomChain:
    space = space_without(missed)
    found = RandomChain(space, torch.randn(400, dtype=torch.float64, generator=seeded(seed)))
    for _ in range(steps):
        found.expand()
    return found


def test_the_bound_fails_about_as_rarely_as_claimed() -> None:
    """With a missed eigenvalue of 4.5, in chains that are too short to find it."""
    failures = {steps: sum(chain(4.5, steps, seed).bound() < 4.5 for seed in range(300)) for steps in (2, 3, 4)}
    assert all(count <= 300 * 3 * PROBABILITY for count in failures.values()), failures


def test_the_bound_approaches_the_largest_missed_eigenvalue() -> None:
    bounds = [chain(1.0, steps, 0).bound() for steps in range(1, 10)]
    assert bounds == sorted(bounds, reverse=True)
    assert 1.0 < bounds[6] < 2.0 and bounds[8] < 1.5


def test_a_missed_eigenvalue_is_found() -> None:
    found = chain(4.5, 10, 0)
    assert abs(found.largest - 4.5) < 1e-6 and found.residual < 1e-2


def test_there_is_no_bound_before_the_first_step() -> None:
    assert chain(1.0, 0, 0).bound() == math.inf


def test_an_exhausted_chain_gives_its_largest_value() -> None:
    matrix: Tensor = torch.diag(torch.tensor([2.0] * 30 + [1.0] * 30)).double()
    space = KrylovSpace(MatrixOperator(matrix), 20)
    start = torch.zeros(60, dtype=torch.float64)
    start[0] = 1.0
    space.start(start)
    space.expand()
    one = RandomChain(space, torch.randn(60, dtype=torch.float64, generator=seeded(0)))
    one.expand()
    one.expand()
    assert one.exhausted and abs(one.bound() - 2.0) < 1e-12


def test_upper_bounds_hold_and_are_the_smallest_after_any_step() -> None:
    space = space_without(3.0)
    found = RandomChain(space, torch.randn(400, dtype=torch.float64, generator=seeded(0)))
    spaces = [space.ritz()]
    for steps in range(1, 7):
        found.expand()
        spaces.append(space.ritz())
        outside = found.bound()
        bounds = found.upper_bounds(outside)
        expected = [ritz.upper_bounds(outside) for ritz in spaces]
        assert bounds[:2] == [min(each[rank] for each in expected) for rank in range(2)]
        assert all(bound >= true - 1e-9 for bound, true in zip(bounds, [5.0, 4.0, 3.0], strict=False)), steps
    assert bounds[0] < 5.0 + 1e-6

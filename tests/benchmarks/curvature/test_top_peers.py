"""Every implementation finds the largest eigenvalues of a dense Hessian, and its products are counted."""

import pytest
import torch

from benchmarks.curvature.peers import quiet
from benchmarks.curvature.problems import PeerProblem
from benchmarks.curvature.top_peers import KNOWN_STEPS, Goal, fewest_steps, installed, ours
from estimators import dense_hessian
from tests.benchmarks.curvature.linear_snapshots import IMAGES, LABELS, snapshot

GOAL = Goal(count=2, tolerance=0.01, steps=12)


def problem() -> PeerProblem:
    return PeerProblem(snapshot(0).model, IMAGES, LABELS)


def expected() -> list[float]:
    dense = dense_hessian(snapshot(0).model.double(), problem().loss, (IMAGES.double(), LABELS))
    found: list[float] = torch.linalg.eigvalsh(dense).flip(0)[: GOAL.count].tolist()
    return found


def test_ours_bounds_its_errors() -> None:
    found = ours(problem(), GOAL)(0)
    assert found.values == pytest.approx(expected(), rel=GOAL.tolerance)
    assert found.converged == [True, True]
    for value, true, error in zip(found.values, expected(), found.errors, strict=True):
        assert abs(value - true) <= error + 1e-6


@pytest.mark.filterwarnings("ignore")
def test_libraries_find_the_same_eigenvalues() -> None:
    assert len(installed()) >= 2, "the test requirements include curvlinops and hessian-eigenthings"
    for name, peer in installed().items():
        with quiet():
            found = peer.build(problem(), 4, GOAL)(0)
        assert found.values == pytest.approx(expected(), rel=0.05), name
        assert found.products >= GOAL.count, name


@pytest.mark.filterwarnings("ignore")
def test_fewest_steps_are_just_enough_for_hessian_eigenthings() -> None:
    steps = fewest_steps(problem(), expected(), GOAL.tolerance, seed=0)

    def error(steps: int) -> float:
        found = installed()[KNOWN_STEPS].build(problem(), 4, Goal(GOAL.count, GOAL.tolerance, steps))(0)
        assert found.products == steps
        return max(abs(value / true - 1.0) for value, true in zip(found.values, expected(), strict=True))

    assert error(steps) <= GOAL.tolerance < error(steps - 1)


@pytest.mark.filterwarnings("ignore")
def test_doubled_steps_stop_once_residuals_are_small() -> None:
    """With k = 1 the first attempt has 2 steps, the next 4, and so on."""
    doubling = installed()["hessian-eigenthings, steps doubled"].build
    with quiet():
        found = doubling(problem(), 4, Goal(1, 0.01, 0))(0)
    assert found.products in (2, 2 + 4, 2 + 4 + 8, 2 + 4 + 8 + 16)
    assert found.values == pytest.approx(expected()[:1], rel=0.01)
    with quiet():
        assert doubling(problem(), 4, Goal(1, 1e6, 0))(0).products == 2

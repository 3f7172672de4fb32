"""The order of a search: the Krylov space first, then a random chain."""

import torch

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.eigenvalues.top_search import TopSearch, Wanted, capacity
from tests.estimators.cases import MatrixOperator, seeded
from tests.estimators.eigenvalues.matrices import matrix_above_bulk


def search(left: int) -> tuple[TopSearch, KrylovSpace]:
    op = MatrixOperator(matrix_above_bulk([5.0, 4.0]))
    space = KrylovSpace(op, capacity(op, 2))
    space.start(torch.randn(op.size, dtype=torch.float64, generator=seeded(0)))
    found = TopSearch(op, space, Wanted(2, 1e-3), seeded(1))
    while not found.finished() and left:
        found.expand(left)
        left -= 1
    return found, space


def test_a_finished_search_has_checked_with_a_random_chain() -> None:
    found, space = search(40)
    values, _, errors, _ = found.pairs()
    assert space.directions == 2 and space.dimension < 24
    assert bool((errors <= 1e-3 * values).all())


def test_the_last_products_are_used_for_a_check() -> None:
    """Without one, every error is infinite."""
    found, space = search(9)
    assert space.directions >= 2 and bool(found.pairs()[2].isfinite().all())

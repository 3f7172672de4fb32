"""The defining equations of a Krylov space, with several start vectors and restarts."""

import pytest
import torch
from torch import Tensor

from estimators import lanczos
from estimators.eigenvalues.krylov import KrylovSpace
from tests.estimators.cases import MatrixOperator, seeded, symmetric


def matrix() -> Tensor:
    return symmetric(torch.linspace(-1.0, 2.0, 40, dtype=torch.float64) ** 3)


def vector(seed: int) -> Tensor:
    return torch.randn(40, dtype=torch.float64, generator=seeded(seed))


def band_space() -> KrylovSpace:
    """Three start vectors, added at different times and expanded in mixed order."""
    space = KrylovSpace(MatrixOperator(matrix()), 20)
    space.start(vector(0))
    for _ in range(4):
        space.expand()
    for seed in (1, 2):
        space.start(vector(seed))
        space.expand()
        space.expand()
    for chain in (0, 1, 2, 0):
        space.expand(chain)
    return space


def check(space: KrylovSpace) -> None:
    """Q is orthonormal, T = Q'AQ, and the couplings give the residual of every Ritz pair."""
    ritz, basis = space.ritz(), space.basis
    torch.testing.assert_close(basis.T @ basis, torch.eye(space.dimension).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(basis.T @ matrix() @ basis, ritz.projected, rtol=0, atol=1e-12)
    for index, value in enumerate(ritz.values):
        found = basis @ ritz.vectors[:, index]
        assert ritz.residual(index) == pytest.approx(float((matrix() @ found - value * found).norm()), abs=1e-7)


def test_the_projection_and_residuals_of_several_chains_are_exact() -> None:
    check(band_space())


def test_a_restart_keeps_the_ritz_pairs() -> None:
    space = band_space()
    before = space.ritz()
    space.restart(range(6, space.dimension))
    check(space)
    after = space.ritz()
    assert after.values == pytest.approx(before.values[6:])
    assert after.residual(-3) == pytest.approx(before.residual(-3))
    space.expand(1)
    check(space)


def test_a_chain_is_lanczos_for_the_matrix_restricted_to_the_complement() -> None:
    space = KrylovSpace(MatrixOperator(matrix()), 20)
    space.start(vector(0))
    for _ in range(5):
        space.expand()
    complement = torch.linalg.svd(space.basis.clone())[0][:, 5:]
    space.start(vector(1))
    steps = [space.expand() for _ in range(6)]
    restricted = MatrixOperator(complement.T @ matrix() @ complement)
    alone = KrylovSpace(restricted, 6)
    alone.start(complement.T @ vector(1))
    expected = [alone.expand() for _ in range(6)]
    for found, one in zip(steps, expected, strict=True):
        assert found == pytest.approx(one)


def test_an_invariant_subspace_ends_a_direction() -> None:
    operator = MatrixOperator(symmetric([3.0] * 5 + [1.0] * 35))
    space = KrylovSpace(operator, 20)
    space.start(vector(0))
    assert space.expand()[1] > 0.1
    assert space.expand()[1] == 0.0
    assert space.directions == 0 and space.ritz().invariant
    space.start(vector(1))
    space.expand()
    space.expand()
    assert space.ritz().values == pytest.approx([1.0, 1.0, 3.0, 3.0])


def test_continues_from_a_lanczos_result() -> None:
    operator = MatrixOperator(matrix())
    short, long = (lanczos(operator, steps, tolerance=0.0, generator=seeded(0)) for steps in (5, 9))
    space = KrylovSpace.from_basis(operator, 9, short.basis, short.tridiagonal, short.remainder)
    for _ in range(4):
        space.expand()
    torch.testing.assert_close(space.ritz().projected, long.tridiagonal)
    torch.testing.assert_close(space.remainder, long.remainder)


def test_a_result_of_another_matrix_is_rejected() -> None:
    short = lanczos(MatrixOperator(matrix()), 5, tolerance=0.0, generator=seeded(0))
    other = MatrixOperator(matrix() + torch.diag(torch.linspace(0.0, 0.02, 40)).double())
    space = KrylovSpace.from_basis(other, 9, short.basis, short.tridiagonal, short.remainder)
    with pytest.raises(ValueError, match=r"differs from initial by \d.\de-0\d .* pass the lanczos result"):
        space.expand()

"""Known eigenpairs against dense eigenvalues."""

import pytest
import torch

from estimators import TopEigenvalues, lanczos, top_eigenvalues
from estimators.spectrum.known_eigenpairs import (
    KnownEigenpairs,
    converged_pairs,
    from_lanczos,
    from_top_eigenvalues,
    none_known,
)
from tests.estimators.cases import MatrixOperator, seeded, symmetric
from tests.estimators.spectrum.spectra import outliers_and_bulk


def known(steps: int) -> tuple[torch.Tensor, KnownEigenpairs]:
    matrix = symmetric(outliers_and_bulk())
    return matrix, from_lanczos(
        MatrixOperator(matrix), lanczos(MatrixOperator(matrix), steps, 0.0, generator=seeded(0))
    )


def test_converged_pairs_are_outliers_with_their_residuals() -> None:
    matrix, pairs = known(12)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert len(pairs.values) >= 3
    assert float((pairs.values[:, None] - eigenvalues).abs().min(1).values.max()) < 4e-3
    torch.testing.assert_close(pairs.values[-3:], eigenvalues[-3:], rtol=0, atol=4e-3)
    vectors = pairs.vectors
    torch.testing.assert_close(
        vectors.T @ vectors, torch.eye(vectors.shape[1], dtype=vectors.dtype), rtol=0, atol=1e-12
    )
    residuals = (matrix @ vectors - vectors * pairs.values).norm(dim=0)
    assert bool((residuals <= pairs.residuals + 1e-12).all())


@pytest.mark.parametrize("steps", [6, 12, 20])
def test_coupling_bounds_the_change_of_the_eigenvalues(steps: int) -> None:
    matrix, pairs = known(steps)
    projection = pairs.vectors @ pairs.vectors.T
    rest = torch.eye(len(matrix), dtype=matrix.dtype) - projection
    apart = pairs.vectors * pairs.values @ pairs.vectors.T + rest @ matrix @ rest
    changes = (torch.linalg.eigvalsh(apart) - torch.linalg.eigvalsh(matrix)).abs()
    assert float(changes.sum()) <= pairs.coupling + 1e-11
    assert float(changes.max()) <= pairs.largest_shift + 1e-12


def top(matrix: torch.Tensor, k: int, tolerance: float = 0.01) -> TopEigenvalues:
    return top_eigenvalues(MatrixOperator(matrix), k, tolerance, generator=seeded(0))


def test_accurate_top_eigenvalues_are_known() -> None:
    matrix = symmetric(outliers_and_bulk())
    eigenvalues = torch.linalg.eigvalsh(matrix)
    pairs = from_top_eigenvalues(MatrixOperator(matrix), top(matrix, 3))
    torch.testing.assert_close(pairs.values, eigenvalues[-3:], rtol=0, atol=0.001 * float(eigenvalues[-1]))
    residuals = (matrix @ pairs.vectors - pairs.vectors * pairs.values).norm(dim=0)
    assert bool((residuals <= pairs.residuals + 1e-12).all())
    # Two of nine eigenvalues are inside the bulk and not accurate.
    assert from_top_eigenvalues(MatrixOperator(matrix), top(matrix, 9, 0.3)).values.tolist() == pytest.approx(
        eigenvalues[-7:].tolist()
    )


def test_nothing_is_known_from_nan_or_from_the_whole_space() -> None:
    op = MatrixOperator(symmetric([1.0, 2.0, 3.0]))
    assert len(from_lanczos(op, lanczos(op, 3, 0.0, generator=seeded(0))).values) == 0
    broken = torch.full((1, 1), torch.nan, dtype=torch.float64)
    assert len(converged_pairs(op, torch.ones(3, 1, dtype=torch.float64), broken, 0.0).values) == 0
    assert none_known(op).vectors.shape == (3, 0)
    assert len(from_top_eigenvalues(op, top(op.matrix, 3)).values) == 0
    assert len(from_top_eigenvalues(op, top(torch.full((3, 3), torch.nan).double(), 2)).values) == 0


def test_a_result_of_another_operator_is_rejected() -> None:
    other = lanczos(MatrixOperator(symmetric([1.0, 2.0])), 2, generator=seeded(0))
    with pytest.raises(ValueError, match=r"deflate has a basis of shape \(2, 2\).*expected \[3, k\].*: pass a Lanczos"):
        from_lanczos(MatrixOperator(symmetric([1.0, 2.0, 3.0])), other)
    with pytest.raises(ValueError, match=r"deflate has vectors of shape \(2, 1\).*expected \[3, k\].*: pass the top"):
        from_top_eigenvalues(MatrixOperator(symmetric([1.0, 2.0, 3.0])), top(symmetric([1.0, 2.0]), 1))

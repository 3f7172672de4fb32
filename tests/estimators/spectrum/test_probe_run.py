"""Lanczos runs against the dense matrix."""

import math

import pytest
import torch

from estimators.spectrum.probe_run import ProbeRun
from tests.estimators.cases import MatrixOperator, seeded, symmetric


def run_on(matrix: torch.Tensor, steps: int, deflated: torch.Tensor) -> ProbeRun:
    run = ProbeRun(
        MatrixOperator(matrix), torch.randn(len(matrix), dtype=matrix.dtype, generator=seeded(0)), steps, deflated
    )
    while not run.complete:
        run.extend(matrix @ run.last)
    return run


@pytest.mark.parametrize("known", [0, 2])
def test_basis_tridiagonal_and_beta_match_their_definitions(known: int) -> None:
    matrix = symmetric([3.0, 2.5, -2.0, *torch.linspace(-1, 1, 17).tolist()])
    deflated = torch.linalg.eigh(matrix).eigenvectors[:, :known]
    run = run_on(matrix, 6, deflated)
    basis = run.basis
    assert run.steps == 6 and not run.ended
    torch.testing.assert_close(basis.T @ basis, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-13)
    assert known == 0 or float((deflated.T @ basis).abs().max()) < 1e-13
    torch.testing.assert_close(basis.T @ matrix @ basis, run.tridiagonal, rtol=0, atol=1e-13)
    remainder = matrix @ basis - basis @ run.tridiagonal
    assert float(remainder[:, -1].norm()) == pytest.approx(run.beta, rel=1e-10)


def test_a_run_ends_in_an_invariant_space_or_after_one_product_per_dimension() -> None:
    none = torch.zeros(6, 0, dtype=torch.float64)
    invariant = run_on(symmetric([2.0, 2.0, 2.0, -1.0, -1.0, 0.5]), 6, none)
    assert (invariant.steps, invariant.ended, invariant.beta) == (3, True, 0.0)
    full = run_on(symmetric(list(range(6))), 40, none)
    assert (full.steps, full.ended) == (6, True)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_product_ends_a_run(value: float) -> None:
    matrix = torch.eye(5, dtype=torch.float64)
    matrix[2, 3] = matrix[3, 2] = value
    run = run_on(matrix, 5, torch.zeros(5, 0, dtype=torch.float64))
    assert (run.steps, run.ended) == (1, True) and not run.tridiagonal.isfinite().all()

"""The error of an estimate is the sum of its parts."""

import pytest

from estimators.spectrum.estimate import ProbeRules, SpectrumEstimate
from estimators.spectrum.known_eigenpairs import converged_pairs, none_known
from estimators.spectrum.probe_runs import probe_runs
from tests.estimators.cases import MatrixOperator, seeded, symmetric
from tests.estimators.spectrum.spectra import outliers_and_bulk


def test_the_error_adds_sampling_quadrature_and_coupling() -> None:
    op = MatrixOperator(symmetric(outliers_and_bulk()))
    (first,) = probe_runs(op, 1, 10, seeded(0), none_known(op).vectors, lambda _: False)
    known = converged_pairs(op, first.basis, first.tridiagonal, first.beta)
    rules = [ProbeRules.of(run) for run in probe_runs(op, 2, 10, seeded(1), known.vectors, lambda _: False)]
    estimate = SpectrumEstimate.of(op.size, known, rules)
    assert estimate.rest == 1.0 - len(known.values) / op.size < 1.0
    parts = estimate.sampling_error, estimate.quadrature_error, known.coupling / op.size
    assert estimate.error == pytest.approx(sum(parts)) and min(parts) > 0.0
    assert estimate.range == pytest.approx(4.0 - float(outliers_and_bulk()[0]), rel=0.05)
    assert estimate.sampling_error == pytest.approx(estimate.rest * estimate.probed.sampling_error(0.95))


def test_the_gauss_rule_of_an_invariant_space_has_no_quadrature_error() -> None:
    op = MatrixOperator(symmetric([2.0, 2.0, -1.0, -1.0]))
    rules = [ProbeRules.of(run) for run in probe_runs(op, 1, 4, seeded(0), none_known(op).vectors, lambda _: False)]
    assert SpectrumEstimate.of(4, none_known(op), rules).quadrature_error == 0.0

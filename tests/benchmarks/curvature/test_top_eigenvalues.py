"""Errors, bounds and claims in the table of the largest eigenvalues."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.curvature.top_eigenvalues import _claims, largest_error, table
from tests.benchmarks.machines import result

TRUE = [10.0, 5.0, 4.0, 3.0, 2.0]


def case(values: list[float], bounds: list[float]) -> dict[str, Any]:
    run = {"values": values, "products": 18.0, "residuals": bounds, "errors": bounds, "converged": [True] * 4 + [False]}
    theirs = {"values": [9.0, *TRUE[1:]], "products": 50, "residuals": [], "errors": [], "converged": []}
    return {
        "reference": {"name": "cnn sgd 0 mid", "values": TRUE, "eigsh_difference": 1e-6},
        "chunks": {"PyHessian": 25},
        "seconds": {"ours": [2.0], "PyHessian": [8.0]},
        "found": {"ours": [run], "PyHessian": [theirs]},
    }


def test_largest_error_is_relative() -> None:
    assert largest_error([10.0, 5.0, 4.0, 3.0, 2.1], TRUE) == pytest.approx(0.05)


def test_claims_count_the_bounds_that_hold() -> None:
    # The fourth value is 0.5 from the reference of its rank but 0.3 from none; the fifth exceeds its bound.
    cases = [case([10.0, 5.0, 4.0, 2.5, 1.5], [0.1, 0.1, 0.1, 0.5, 0.4])]
    assert _claims(cases).startswith("Ours: 4 of 5 residuals and 4 of 5 errors hold, and 4 pairs claim convergence.")
    nearest = [case([10.0, 5.0, 4.0, 3.0, 2.9], [0.0, 0.0, 0.0, 0.0, 0.2])]
    assert _claims(nearest).startswith("Ours: 5 of 5 residuals and 4 of 5 errors hold")


def test_table_compares_time_and_accuracy() -> None:
    measured = {"tolerance": 0.01, "images": 100, "trained_on": 200, "cases": [case(TRUE, [0.1] * 5)]}
    ours, theirs = table(replace(result(), measured=measured)).splitlines()[2:4]
    assert "1 of 1" in ours and "0.00%" in ours
    assert "4.00 (4.00-4.00)" in theirs and "10.00%" in theirs and "0 of 1" in theirs

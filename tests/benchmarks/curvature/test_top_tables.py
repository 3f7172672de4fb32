"""Errors, bounds and claims in the table of the largest eigenvalues."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.curvature.top_tables import claims, largest_error, table
from tests.benchmarks.machines import result

TRUE = [10.0, 5.0, 4.0, 3.0, 2.0]


def case(values: list[float], bounds: list[float]) -> dict[str, Any]:
    run = {"values": values, "products": 18.0, "residuals": bounds, "errors": bounds, "converged": [True] * 4 + [False]}
    theirs = {"values": [9.0, *TRUE[1:]], "products": 50, "residuals": [], "errors": [], "converged": []}
    return {
        "reference": {"name": "cnn sgd 0 mid", "images": 100, "values": TRUE, "eigsh_difference": 1e-6},
        "chunks": {"PyHessian": 25},
        "seconds": {"ours": [2.0], "PyHessian": [8.0]},
        "found": {"ours": [run], "PyHessian": [theirs]},
    }


def test_largest_error_is_relative() -> None:
    assert largest_error([10.0, 5.0, 4.0, 3.0, 2.1], TRUE) == pytest.approx(0.05)


def test_claims_count_the_bounds_that_hold() -> None:
    # The fourth value is 0.5 from the reference of its rank but 0.3 from none; the fifth exceeds its bound.
    cases = [case([10.0, 5.0, 4.0, 2.5, 1.5], [0.1, 0.1, 0.1, 0.5, 0.4])]
    assert claims(cases).startswith(
        "Ours: 4 of 5 residuals and 4 of 5 errors hold; 4 pairs claim convergence, 1 of them wrongly."
    )
    nearest = [case([10.0, 5.0, 4.0, 3.0, 2.9], [0.0, 0.0, 0.0, 0.0, 0.2])]
    assert claims(nearest).startswith("Ours: 5 of 5 residuals and 4 of 5 errors hold")


def test_table_compares_time_and_accuracy() -> None:
    one = case(TRUE, [0.1] * 5)
    measured = {"trained_on": 200, "sgd-0-mid-100": one, "bounds": [one, one]}
    lines = table(replace(result(), measured=measured)).splitlines()
    ours, theirs = lines[2:4]
    assert "1 of 1" in ours and "0.00%" in ours
    assert "4.00 (4.00-4.00)" in theirs and "10.00%" in theirs and "0 of 1" in theirs
    assert any(line.startswith("Ours on 100 images, 2 cases: 2 snapshots, 1 random starts each.") for line in lines)


def test_table_has_a_part_for_each_number_of_images() -> None:
    small, large = case(TRUE, [0.1] * 5), case(TRUE, [0.1] * 5)
    large["reference"]["images"] = 5000
    text = table(replace(result(), measured={"trained_on": 200, "a": small, "b": large}))
    assert text.index("Measured on 5,000 images: 1 snapshots") < text.index("Measured on 100 images: 1 snapshots")

"""Counts of hits and of products until the first hit."""

import pytest

from benchmarks.curvature.lambda_max import _first_hit, _row


def test_first_hit_counts_the_coarse_start() -> None:
    found = {"history": [0.5, 0.9995, 1.0], "products": 3.8}
    assert _first_hit(found, 1.0, 1e-3) == pytest.approx(2.8)
    assert _first_hit({"history": [0.5], "products": 1.0}, 1.0, 1e-3) == 2.0


def test_counts_estimates_that_converged_to_a_wrong_value() -> None:
    def case(value: float, converged: bool) -> dict[str, object]:
        found = {"lambda_max": value, "converged": converged, "products": 2.0, "history": [0.1, value]}
        return {"lambda_max": 1.0, "found": {"way": found}}

    row = _row("way", 500, "all", [case(1.0, True), case(0.9995, False), case(0.9, True), case(-1.0, False)], 1e-3)
    assert row[4:7] == ["50.0%", "50.0%", "1 of 2"]

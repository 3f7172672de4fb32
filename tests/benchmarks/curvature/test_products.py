"""Totals of the products benchmark."""

from benchmarks.curvature import products


def test_total_of_the_papers_equations_is_extrapolated() -> None:
    samples = {"ours: power": [1.0, 2.0], "ours: trace": [3.0, 4.0]}
    samples |= {f"{products.PAPER}: power": [5.0, 6.0], f"{products.PAPER}: trace": [7.0, 8.0]}
    totals = products.totals_by_name({"steps": 10, "paper_steps": 2, "samples": samples})
    assert totals == {"ours": [4.0, 6.0], products.PAPER: [60.0, 70.0]}

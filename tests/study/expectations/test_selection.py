"""Selected records against those named by hand."""

import pytest

from orchestrator.study.expectations.selection import QuantityCurve, parse_selection

FIELDS = {"optimizer.lr": 0.5}
CURVE = QuantityCurve([0, 10, 20, 30, 40, 50, 60], [0, 1, 2, 3, 4, 5, 6], [1.0, 3.0, 2.0, 5.0, 4.5, 5.0, 3.0])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6]),
        ("last third", [4, 5, 6]),
        ("first third", [0, 1, 2]),
        ("last half", [3, 4, 5, 6]),
        ("first  tenth", [0]),
        ("last record", [6]),
        ("last 1 record", [6]),
        ("first record", [0]),
        ("last 2 records", [5, 6]),
        ("first 2 records", [0, 1]),
        ("last 99 records", [0, 1, 2, 3, 4, 5, 6]),
        ("step >= 40", [4, 5, 6]),
        ("step>40", [5, 6]),
        ("epoch < 2", [0, 1]),
        ("10 <= step < 30", [1, 2]),
        ("10 < step", [2, 3, 4, 5, 6]),
        ("2.5 <= epoch <= 4", [3, 4]),
        ("step > 100", []),
        ("peak", [3]),
        ("first crossing of 2 / optimizer.lr", [3]),
        ("first crossing of 0.5", []),
        ("first crossing of 9", []),
    ],
)
def test_selects_records(text: str, places: list[int]) -> None:
    assert list(parse_selection(text).select(CURVE, FIELDS)) == places


def test_a_quantity_that_starts_above_a_threshold_crosses_it_downwards() -> None:
    falling = QuantityCurve([0, 1, 2], [0, 1, 2], [3.0, 2.0, 1.0])
    assert list(parse_selection("first crossing of 1.5").select(falling, FIELDS)) == [2]


@pytest.mark.parametrize("text", ["all", "peak", "last third", "last 3 records", "step < 3", "first crossing of 1"])
def test_selects_nothing_of_nothing(text: str) -> None:
    assert list(parse_selection(text).select(QuantityCurve([], [], []), FIELDS)) == []


@pytest.mark.parametrize(
    "text",
    ["", "last", "third", "last 0 records", "step", "steps > 3", "step = 3", "5 < step > 3 > 1", "first crossing of"],
)
def test_refuses_other_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be all, first or last and half"):
        parse_selection(text)


@pytest.mark.parametrize("text", ["30 <= step < 20", "3 < epoch < 3"])
def test_refuses_empty_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="the lower bound is not below the upper bound"):
        parse_selection(text)


def test_refuses_a_crossing_of_no_expression() -> None:
    with pytest.raises(ValueError, match="'2 /' is not an expression"):
        parse_selection("first crossing of 2 /")

"""Markdown tables and numbers."""

from benchmarks.harness.tables import markdown, number, percent, spread


def test_columns_are_aligned() -> None:
    assert markdown(["loop", "s"], [["ours", "17.2"], ["a bare loop", "9"]]) == (
        "| loop        |    s |\n|-------------|-----:|\n| ours        | 17.2 |\n| a bare loop |    9 |"
    )


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (123.4, 12.34, 1.234, 0.0)] == ["123", "12.3", "1.23", "0.00"]
    assert spread([3.0, 1.0, 2.0], scale=10) == "20.0 (10.0-30.0)"
    assert percent(0.1234) == "12.3%"

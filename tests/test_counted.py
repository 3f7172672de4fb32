"""Numbers with their nouns."""

import pytest

from orchestrator.counted import counted


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 trials"),
        (1, "1 trial"),
        (1.0, "1 trial"),
        (2, "2 trials"),
        (0.5, "0.5 trials"),
        (1234567, "1234567 trials"),
    ],
)
def test_the_noun_has_the_right_number(number: float, expected: str) -> None:
    assert counted(number, "trial") == expected

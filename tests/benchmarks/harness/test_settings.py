"""Chosen cases."""

import pytest

from benchmarks.harness.settings import Settings


def test_unknown_case_is_an_error() -> None:
    assert Settings(only=("a",)).chosen({"a": 1, "b": 2}) == {"a": 1}
    assert Settings().chosen({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="--only c: no such case; the cases are a, b"):
        Settings(only=("c", "a")).chosen({"a": 1, "b": 2})

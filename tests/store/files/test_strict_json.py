"""JSON without NaN and infinities."""

import json
import math

import pytest

from orchestrator.store.files import strict_json

CONTENT = {"a": [1.5, math.nan, (math.inf, -math.inf)], "b": {"c": 3, "d": "text", "e": None}}


def refuse(token: str) -> None:
    raise AssertionError(token)


@pytest.mark.parametrize("encode", [strict_json.to_bytes, lambda content: strict_json.to_line(content).encode()])
def test_nan_and_infinity_are_stored_as_strings(encode) -> None:  # type: ignore[no-untyped-def]
    encoded = encode(CONTENT)
    plain = json.loads(encoded, parse_constant=refuse)
    assert plain == {"a": [1.5, "NaN", ["Infinity", "-Infinity"]], "b": {"c": 3, "d": "text", "e": None}}
    restored = strict_json.restore_numbers(plain)
    assert math.isnan(restored["a"][1])
    assert restored["a"][2] == [math.inf, -math.inf]
    assert restored["b"] == CONTENT["b"]
    assert strict_json.may_have_texts(encoded)


def test_finite_content_has_no_encoded_nan_or_infinity() -> None:
    assert not strict_json.may_have_texts(strict_json.to_bytes({"a": [1.5, 2]}))
    assert strict_json.to_line([1, 2.5]) == "[1, 2.5]"

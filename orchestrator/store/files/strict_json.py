"""Strict JSON, which every parser accepts. NaN and infinities, which are not valid JSON, are stored as strings."""

import json
import math
from typing import Any

_TEXTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_bytes(content: object) -> bytes:
    """Encodes the content as indented JSON."""
    return json.dumps(_spell_numbers(content), indent=1, allow_nan=False).encode()


def to_line(content: object) -> str:
    """Encodes the content as JSON on one line."""
    return json.dumps(_spell_numbers(content), allow_nan=False)


def may_have_texts(content: bytes) -> bool:
    """Whether the content may contain numbers that are stored as strings."""
    return b'NaN"' in content or b'Infinity"' in content


def restore_numbers(content: Any) -> Any:
    """Replaces the strings NaN, Infinity and -Infinity by numbers. The content must not use them as ordinary text."""
    if isinstance(content, str):
        return _TEXTS.get(content, content)
    if isinstance(content, list):
        return [restore_numbers(each) for each in content]
    if isinstance(content, dict):
        return {key: restore_numbers(value) for key, value in content.items()}
    return content


def _spell_numbers(content: object) -> object:
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, (list, tuple)):
        return [_spell_numbers(each) for each in content]
    if isinstance(content, dict):
        return {key: _spell_numbers(value) for key, value in content.items()}
    return content

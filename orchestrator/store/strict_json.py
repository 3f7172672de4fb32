"""JSON that every reader accepts: NaN and infinities, which JSON lacks, are stored as texts."""

import json
import math
from typing import Any

_TEXTS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def to_bytes(content: object) -> bytes:
    """Indented JSON."""
    return json.dumps(_spelled(content), indent=1, allow_nan=False).encode()


def to_line(content: object) -> str:
    """JSON in one line."""
    return json.dumps(_spelled(content), allow_nan=False)


def may_have_texts(content: bytes) -> bool:
    """Whether a number may be stored as a text."""
    return b'NaN"' in content or b'Infinity"' in content


def restore_numbers(content: Any) -> Any:
    """Replaces the texts that stand for numbers. No other text may look like one of them."""
    if isinstance(content, str):
        return _TEXTS.get(content, content)
    if isinstance(content, list):
        return [restore_numbers(each) for each in content]
    if isinstance(content, dict):
        return {key: restore_numbers(value) for key, value in content.items()}
    return content


def _spelled(content: object) -> object:
    if isinstance(content, float) and not math.isfinite(content):
        return "NaN" if math.isnan(content) else "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, (list, tuple)):
        return [_spelled(each) for each in content]
    if isinstance(content, dict):
        return {key: _spelled(value) for key, value in content.items()}
    return content

"""``--set``: other values put over those of a sweep file."""

import hashlib
from collections.abc import Sequence
from typing import Any

from orchestrator.study.yaml_file import parse_value


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """The values by dotted key.

    Raises:
        ValueError: where one is no ``key=value``, or a key is set twice.
    """
    parsed: dict[str, Any] = {}
    for given in overrides:
        key, separator, text = given.partition("=")
        if not separator or not key:
            raise ValueError(f"--set {given!r}: expected key=value, for example --set optimizer.lr=0.1")
        if key in parsed:
            raise ValueError(f"--set {given!r}: {key} is set twice; say which value is meant")
        parsed[key] = parse_value(text)
    return parsed


_BESIDE_TRIALS = ("resources", "keep_checkpoints", "sample")
"""Keys of a sweep file that an override reaches at its top."""


def override(content: dict[str, Any], key: str, value: Any) -> None:
    """Puts a value over the file's ``trial:``, and over its ``grid:`` and ``sample:`` where those vary the key."""
    if key.partition(".")[0] in _BESIDE_TRIALS:
        put(content, key, value)
        return
    sampled = _drop_from_sample(content, key)
    if sampled and isinstance(value, list) and not content.get("grid"):
        content["grid"] = {}
    grids = content.get("grid")
    grids = [grid for grid in (grids if isinstance(grids, list) else [grids]) if isinstance(grid, dict)]
    varied = [grid for grid in grids if any(f"{key}.".startswith(f"{given}.") for given in grid)]
    listed = isinstance(value, list) and bool(varied or sampled)
    # A list holds for all trials: for those too whose own grid does not vary the key.
    for grid in grids if listed else varied:
        grid[key] = value if isinstance(value, list) else [value]
    if isinstance(content.get("trial"), dict) and not listed:
        put(content["trial"], key, value)


def _drop_from_sample(content: dict[str, Any], key: str) -> bool:
    """A key that is set is not drawn any more; whether it was."""
    sample = content.get("sample")
    values = sample.get("values") if isinstance(sample, dict) else None
    if not isinstance(sample, dict) or not isinstance(values, dict) or key not in values:
        return False
    kept = {name: distribution for name, distribution in values.items() if name != key}
    content["sample"] = {**sample, "values": kept} if kept else None
    return True


def put(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets what a dotted key names; the mappings on the way are copied, or made."""
    *parents, last = dotted.split(".")
    for parent in parents:
        child = content.get(parent)
        content[parent] = content = dict(child) if isinstance(child, dict) else {}
    content[last] = value


def overridden_name(name: str, overrides: Sequence[str]) -> str:
    """The name of the sweep that the overrides make: the same in any order."""
    if not overrides:
        return name
    return f"{name}-{hashlib.sha256(chr(10).join(sorted(overrides)).encode()).hexdigest()[:6]}"

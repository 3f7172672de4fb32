"""The option ``--set``, which overrides values of a sweep file."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.study.config import TrialConfig
from orchestrator.study.sweep_file_error import models_in
from orchestrator.study.yaml_file import parse_value, value_text

_NOT_NAMING = ("resources", "keep_checkpoints", "description", "expect")
"""Top-level keys of a sweep file that change neither its trials nor its name."""
_OUTSIDE_TRIALS = (*_NOT_NAMING, "sample")
"""Top-level keys of a sweep file that can be overridden. All other keys are fields of a trial."""


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Parses overrides ``key=value``. Returns the values by dotted key.

    Raises:
        ValueError: an override is not ``key=value``, or a key is set twice.
    """
    parsed: dict[str, Any] = {}
    for given in overrides:
        key, separator, text = given.partition("=")
        if not separator or not key:
            raise ValueError(f"--set {given!r}: expected key=value, for example --set optimizer.lr=0.1")
        if key in parsed:
            raise ValueError(f"--set {given!r}: {key} is set twice; keep one of the values")
        parsed[key] = parse_value(text)
    return parsed


def override_texts(overrides: Mapping[str, Any]) -> list[str]:
    """Returns overrides given by dotted key as strings ``key=value``."""
    return [f"{key}={value_text(value)}" for key, value in overrides.items()]


def override(content: dict[str, Any], key: str, value: Any) -> None:
    """Overrides a key at the top level, or a key of all trials in ``trial:`` and in every grid that varies it.

    A key of a trial is removed from ``sample:``. A list becomes an axis of every grid if the key takes a single value,
    or if a grid or ``sample:`` varies it.
    """
    if _top(key) in _OUTSIDE_TRIALS:
        put(content, key, value)
        return
    sampled = _drop_from_sample(content, key)
    listed = isinstance(value, list) and (sampled or not _takes_list(key))
    if listed and not content.get("grid"):
        content["grid"] = {}
    grids = content.get("grid")
    grids = [grid for grid in (grids if isinstance(grids, list) else [grids]) if isinstance(grid, dict)]
    varied = [grid for grid in grids if any(f"{key}.".startswith(f"{given}.") for given in grid)]
    listed = listed or (isinstance(value, list) and bool(varied))
    # A list applies to all trials, including the trials of grids that do not vary the key.
    for grid in grids if listed else varied:
        grid[key] = value if isinstance(value, list) else [value]
    if isinstance(content.get("trial"), dict) and not listed:
        put(content["trial"], key, value)


def _takes_list(key: str) -> bool:
    """Returns whether a key of a trial may have a list as its value. True for unknown keys, which networks define."""
    *parents, last = key.split(".")
    owners: list[type[BaseModel]] = [TrialConfig]
    for name in parents:
        owners = [model for field in _fields(owners, name) for model in models_in(field.annotation)]
    fields = _fields(owners, last)
    return not fields or any(get_origin(field.annotation) is tuple for field in fields)


def _fields(owners: Sequence[type[BaseModel]], name: str) -> list[FieldInfo]:
    return [owner.model_fields[name] for owner in owners if name in owner.model_fields]


def _drop_from_sample(content: dict[str, Any], key: str) -> bool:
    """Removes an overridden key from ``sample:``. Returns whether it was there."""
    sample = content.get("sample")
    values = sample.get("values") if isinstance(sample, dict) else None
    if not isinstance(sample, dict) or not isinstance(values, dict) or key not in values:
        return False
    kept = {name: distribution for name, distribution in values.items() if name != key}
    content["sample"] = {**sample, "values": kept} if kept else None
    return True


def put(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets the value of a dotted key. Intermediate mappings are copied, or created if they do not exist."""
    *parents, last = dotted.split(".")
    for parent in parents:
        child = content.get(parent)
        content[parent] = content = dict(child) if isinstance(child, dict) else {}
    content[last] = value


def overridden_name(name: str, overrides: Sequence[str], stored: Callable[[str], bool] = lambda name: False) -> str:
    """Returns the sweep's name with a digest of the overrides that affect its trials. Their order does not matter.

    Version 0.1 included all overrides in the digest. Its name is kept if `stored` returns True for it.
    """
    with_all = _name_with_digest(name, overrides)
    naming = [given for given in overrides if _top(given.partition("=")[0]) not in _NOT_NAMING]
    current = _name_with_digest(name, naming)
    return with_all if with_all != current and stored(with_all) else current


def _name_with_digest(name: str, overrides: Sequence[str]) -> str:
    if not overrides:
        return name
    return f"{name}-{hashlib.sha256(chr(10).join(sorted(overrides)).encode()).hexdigest()[:6]}"


def _top(key: str) -> str:
    return key.partition(".")[0]

"""The issues of a sweep file. Each shows the key, the value, what is allowed, and the most similar valid name."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.counted import counted

_EXPECTED = {
    "missing": "is required and not given",
    "string_pattern_mismatch": "must be letters, digits, '-' and '_' only (at most 64)",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "too_short": "is too short; expected at least {min_length}",
    "invalid_key": "keys must be text",
}
"""Maps pydantic error types to messages that state what was expected."""


@dataclass(frozen=True)
class ConfigIssue:
    """One issue to fix. A value of ``...`` is not shown."""

    path: str
    value: object
    message: str

    def __hash__(self) -> int:
        return hash((self.path, repr(self.value), self.message))

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        given = "" if self.value is ... else f" = {shown}"
        return f"{self.path or 'file'}{given}: {self.message}"


class SweepFileError(ValueError):
    """A sweep file is invalid; the message lists every issue."""

    def __init__(self, source: Path | str, issues: Sequence[ConfigIssue]) -> None:
        self.issues = tuple(dict.fromkeys(issues))
        head = f"{source}: {counted(len(self.issues), 'problem')}, nothing was started"
        super().__init__("\n  ".join([head, *map(str, self.issues)]))


def explain(
    error: ValidationError, model: type[BaseModel], root: str = "", origins: Mapping[str, str] | None = None
) -> list[ConfigIssue]:
    """Converts the errors of pydantic into issues.

    Args:
        error: the error that `model` raised.
        model: the class that was validated, which defines the valid names.
        root: prefix of all paths, if `model` is a part of the file.
        origins: maps dotted keys to ``grid`` or ``sample`` if their values come from there.
    """
    return [_issue(details, model, root, origins or {}) for details in error.errors()]


def _issue(details: ErrorDetails, model: type[BaseModel], root: str, origins: Mapping[str, str]) -> ConfigIssue:
    parts, owner = _walk(details["loc"], model)
    # If a combination of values is invalid, the message already contains the values.
    combination = details["type"] == "value_error" and isinstance(details["input"], dict)
    value: object = ... if details["type"].startswith("missing") or combination else details["input"]
    if details["type"] == "union_tag_invalid":
        parts, value = [*parts, "name"], details["input"]["name"]
    dotted = ".".join(parts)
    origin = next((origin for key, origin in origins.items() if _caused(key, dotted, details["type"])), None)
    path = f"{origin}: {dotted}" if origin else ".".join(filter(None, (root, dotted)))
    message = _message(details, owner, parts[-1] if parts else "")
    if details["type"] == "missing" and root == "trial" and not origin:
        message += f"; add it, for example with --set {dotted}=VALUE"
    return ConfigIssue(path, value, message)


def _caused(key: str, dotted: str, kind: str) -> bool:
    """Returns whether the varied `key` caused the issue at `dotted`."""
    if f"{key}.".startswith(f"{dotted}."):
        # A varied key can make its parent invalid, but it is not the cause if a key of the parent is missing.
        return key == dotted or kind not in ("missing", "union_tag_not_found")
    return dotted.startswith(f"{key}.")


def _walk(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """Returns the path as written in the file, and the class that defines its last field.

    The location also contains the tags of union members, which are not in the file.
    """
    parts: list[str] = []
    owner: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = [model]
    for part in map(str, location):
        chosen = [member for member in choices if part in _names(member)] if len(choices) > 1 else []
        if chosen:
            choices = chosen[:1]
            continue
        parts.append(part)
        if part.isdecimal() and choices:  # a position in a list of these choices
            continue
        owner = choices[0] if len(choices) == 1 else None
        choices = _members(owner, part)
    return parts, owner


def _members(owner: type[BaseModel] | None, name: str) -> list[type[BaseModel]]:
    """The classes that a field may hold."""
    field = owner.model_fields.get(name) if owner else None
    return models_in(field.annotation) if field else []


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The classes that a type or a union of types contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return models_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType, tuple):
        return [model for member in get_args(annotation) for model in models_in(member)]
    return []


def _names(model: type[BaseModel]) -> list[str]:
    """The valid values of the key ``name``; empty if the model has none."""
    field = model.model_fields.get("name")
    return [*get_args(field.annotation), *(field.examples or [])] if field else []


def _message(details: ErrorDetails, owner: type[BaseModel] | None, last: str) -> str:
    kind, context = details["type"], details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return f"unknown key{nearest(last, owner.model_fields if owner else [])}"
        case "union_tag_invalid":
            return f"unknown name{nearest(str(context['tag']), _listed(context['expected_tags']))}"
        case "literal_error":
            return f"unknown name{nearest(str(details['input']), _listed(context['expected'].replace(' or ', ',')))}"
        case "union_tag_not_found" | "model_type" | "model_attributes_type" | "dict_type":
            names = sorted({name for model in _members(owner, last) for name in _names(model)})
            return "must be a mapping" + (f" with the key 'name', one of: {', '.join(names)}" if names else "")
    if expected := _EXPECTED.get(kind):
        return expected.format(**context)
    return details["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)


def _listed(names: str) -> list[str]:
    return [name.strip(" '") for name in names.split(",")]


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the most similar valid name, and all valid names."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} valid here: {', '.join(sorted(valid))}"

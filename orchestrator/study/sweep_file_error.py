"""What is wrong with a sweep file, said so that one can mend it: path, value, what is allowed, nearest valid name."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


@dataclass(frozen=True)
class ConfigIssue:
    """One thing to mend. The value is ``...`` where there is none to show."""

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
    """Everything that is wrong with a sweep file."""

    def __init__(self, source: Path, problems: Sequence[ConfigIssue]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        super().__init__("\n  ".join([f"{source}: {count}, nothing was started", *map(str, self.problems)]))


def explain(
    error: ValidationError, model: type[BaseModel], root: str = "", origins: Mapping[str, str] | None = None
) -> list[ConfigIssue]:
    """Pydantic's findings in our words.

    Args:
        error: what `model` raised.
        model: the class that was validated; tells which names are valid where.
        root: what the paths begin with, where the value stands in a larger file.
        origins: the dotted keys whose values came from the ``grid`` or the ``sample``: problems in those are theirs.
    """
    return list(dict.fromkeys(_problem(details, model, root, origins or {}) for details in error.errors()))


def _problem(details: ErrorDetails, model: type[BaseModel], root: str, origins: Mapping[str, str]) -> ConfigIssue:
    parts, owner = _walk(details["loc"], model)
    # What is wrong with a mapping as a whole names its parts itself.
    whole = details["type"] == "value_error" and isinstance(details["input"], dict)
    value: object = ... if details["type"] == "missing" or whole else details["input"]
    if details["type"] == "union_tag_invalid":
        parts, value = [*parts, "name"], details["input"]["name"]
    dotted = ".".join(parts)
    origin = next((origin for key, origin in origins.items() if _caused(key, dotted, details["type"])), None)
    path = f"{origin}: {dotted}" if origin else ".".join(part for part in (root, dotted) if part)
    return ConfigIssue(path, value, _message(details, owner, parts[-1] if parts else ""))


def _caused(key: str, dotted: str, kind: str) -> bool:
    """Whether what is wrong at `dotted` came with a varied `key`."""
    if f"{key}.".startswith(f"{dotted}."):
        # Above the key, a grid may have brought in what is there, but not what is missing.
        return key == dotted or kind not in ("missing", "union_tag_not_found")
    return dotted.startswith(f"{key}.")


def _walk(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """The path as written in the file, and the class whose field stands at its end.

    Pydantic puts the chosen member of a union into the path, which the file does not have.
    """
    parts: list[str] = []
    owner: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = [model]
    for part in location:
        if len(choices) > 1 and (chosen := _tagged(choices, str(part))):
            choices = [chosen]
            continue
        parts.append(str(part))
        owner = choices[0] if len(choices) == 1 else None
        field = owner.model_fields.get(str(part)) if owner else None
        choices = _models(field.annotation) if field else []
    return parts, owner


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [model for member in get_args(annotation) for model in _models(member)]
    return []


def _tagged(models: list[type[BaseModel]], tag: str) -> type[BaseModel] | None:
    return next((model for model in models if tag in _names(model)), None)


def _names(model: type[BaseModel]) -> list[str]:
    """What the key ``name`` may say there."""
    field = model.model_fields["name"]
    return [*get_args(field.annotation), *(field.examples or [])]


def _message(details: ErrorDetails, owner: type[BaseModel] | None, last: str) -> str:
    context = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return f"unknown key{_nearest(last, list(owner.model_fields) if owner else [])}"
        case "missing":
            return "is required and not given"
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in str(context["expected_tags"]).split(",")]
            return f"unknown name{_nearest(str(context['tag']), tags)}"
        case "union_tag_not_found" | "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a mapping{_named(owner, last)}"
        case "literal_error":
            names = [name.strip(" '") for name in str(context["expected"]).replace(" or ", ",").split(",")]
            return f"unknown name{_nearest(str(details['input']), names)}"
        case "string_pattern_mismatch":
            return "must be letters, digits, '-' and '_' only (at most 64)"
        case "tuple_type" | "list_type":
            return "must be a list"
        case "int_type":
            return "must be an integer"
        case "float_type":
            return "must be a number"
        case "string_type":
            return "must be text"
        case "string_too_short":
            return "must not be empty"
        case "invalid_key":
            return "keys must be text"
        case _:
            text = details["msg"].removeprefix("Value error, ")
            return text.replace("Input should be", "must be", 1)


def _named(owner: type[BaseModel] | None, last: str) -> str:
    field = owner.model_fields.get(last) if owner else None
    models = [model for model in _models(field.annotation if field else None) if _has_name(model)]
    names = sorted(name for model in models for name in _names(model))
    return f" with the key 'name', one of: {', '.join(names)}" if names else ""


def _has_name(model: type[BaseModel]) -> bool:
    return "name" in model.model_fields


def _nearest(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} valid here: {', '.join(sorted(valid))}" if hint else f"; valid here: {', '.join(sorted(valid))}"

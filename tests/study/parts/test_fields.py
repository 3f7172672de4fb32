"""Configs are strict and immutable, and mark the fields that are not part of the trial id."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from orchestrator.study.parts.fields import (
    NOT_IDENTITY,
    Config,
    NonNegativeInt,
    PositiveFloat,
    Share,
    counts_for_identity,
)


class Example(Config):
    rate: PositiveFloat = 1.0
    share: Share = 0.5
    count: NonNegativeInt = 0
    path: Annotated[str, Field(json_schema_extra=NOT_IDENTITY)] = ""


@pytest.mark.parametrize(
    "fields",
    [
        {"rate": 0.0},
        {"rate": float("inf")},
        {"rate": float("nan")},
        {"rate": "0.5"},
        {"share": 1.0},
        {"count": -1},
        {"count": 1.0},
        {"count": True},
        {"other": 1},
    ],
    ids=str,
)
def test_invalid_values_types_and_keys_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Example.model_validate(fields)


def test_a_config_is_immutable_and_hashable() -> None:
    example = Example(rate=2)
    with pytest.raises(ValidationError, match="frozen"):
        example.rate = 3.0
    assert {example: "key"}[Example(rate=2.0)]


def test_marked_fields_do_not_count_for_identity() -> None:
    assert [name for name, field in Example.model_fields.items() if not counts_for_identity(field)] == ["path"]

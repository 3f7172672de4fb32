"""Accepted ranges of expectations, and refused combinations."""

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.study.expectations.expectation import Expectation

FIELDS = {"optimizer.name": "adam", "optimizer.lr": 0.5, "seed": 3}


def expectation(**content: Any) -> Expectation:
    return Expectation.model_validate({"quantity": "hessian/lambda_max", **content})


@pytest.mark.parametrize(
    ("content", "bounds"),
    [
        ({"value": 2.0, "within": "10%"}, (1.8, 2.2)),
        ({"value": -2, "within": "12.5 %"}, (-2.25, -1.75)),
        ({"value": "2 / optimizer.lr", "within": 1}, (3.0, 5.0)),
        ({"at_least": "optimizer.lr"}, (0.5, math.inf)),
        ({"at_most": 3}, (-math.inf, 3.0)),
        ({"value": 1.0, "at_least": 0.9, "at_most": 1.2}, (0.9, 1.2)),
    ],
)
def test_the_accepted_range(content: dict[str, Any], bounds: tuple[float, float]) -> None:
    assert expectation(**content).bounds(FIELDS) == pytest.approx(bounds)


def test_matches_trials_by_their_fields() -> None:
    assert expectation(at_most=1).matches(FIELDS)
    assert expectation(at_most=1, where={"optimizer.name": "adam", "optimizer.lr": 0.5}).matches(FIELDS)
    assert expectation(at_most=1, where={"optimizer.name": ["sgd", "adam"]}).matches(FIELDS)
    assert not expectation(at_most=1, where={"optimizer.name": "sgd"}).matches(FIELDS)
    assert not expectation(at_most=1, where={"optimizer.momentum": None}).matches(FIELDS)
    assert not expectation(at_most=1, where={"optimizer.momentum": 0.9}).matches(FIELDS)


def test_is_the_same_after_storing() -> None:
    given = expectation(value="2 / optimizer.lr", within="5%", where={"optimizer.lr": [0.1, 0.2]}, over="last third")
    stored = json.loads(json.dumps(given.model_dump(mode="json", exclude_defaults=True)))
    assert Expectation.model_validate(stored) == given


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no accepted values are given"),
        ({"value": 1}, "no accepted values are given"),
        ({"within": 1}, "within needs value"),
        ({"value": 1, "within": 1, "at_most": 2}, "within needs value, and neither at_least nor at_most"),
        ({"value": 1, "within": 0}, "must be a positive number, or a percentage of value such as 10%"),
        ({"value": 1, "within": "ten"}, "must be a positive number, or a percentage of value such as 10%"),
        ({"value": "seed", "within": 1}, "uses seed, but one value is expected for all seeds"),
        ({"value": "2 +", "within": 1}, "is not an expression"),
        ({"at_most": 1, "over": "sometimes"}, "must be all, first or last"),
        ({"at_most": 1, "over": "first crossing of 3"}, "expected step or epoch for a first crossing"),
        ({"at_most": 1, "statistic": "mode"}, "Input should be 'median'"),
        ({"at_most": 1, "seeds": 0}, "greater than or equal to 1"),
    ],
)
def test_refuses(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        expectation(**content)


def test_is_described_in_short() -> None:
    given = expectation(at_most=1, where={"optimizer.name": ["sgd", "adam"]}, over="last third")
    assert str(given) == "hessian/lambda_max, median over last third, optimizer.name sgd or adam"
    crossing = expectation(at_most=100, over="first crossing of 2 / optimizer.lr", statistic="step")
    assert str(crossing) == "hessian/lambda_max, step of first crossing of 2 / optimizer.lr"

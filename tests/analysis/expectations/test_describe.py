"""Judgements in words."""

import math
from typing import Any

import pytest

from orchestrator.analysis.expectations.describe import accepted, lines, measured, rows
from orchestrator.analysis.expectations.interval import Measured, interval_of
from orchestrator.analysis.expectations.judgement import GroupJudgement, Judgement, Outcome
from orchestrator.study.expectations.expectation import Expectation


def group(low: float = 0.9, high: float = 1.1, expected: float | None = None, **content: Any) -> GroupJudgement:
    return GroupJudgement("lr=0.1", Outcome.NOT_ENOUGH_DATA, "More is needed.", low, high, expected, **content)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (group(), "0.9 to 1.1"),
        (group(expected=1.0), "0.9 to 1.1 (expected 1)"),
        (group(low=-math.inf), "at most 1.1"),
        (group(high=math.inf), "at least 0.9"),
        (group(low=math.nan, high=math.nan), ""),
    ],
)
def test_the_accepted_range(given: GroupJudgement, text: str) -> None:
    assert accepted(given) == text


@pytest.mark.parametrize(
    ("expected", "deviation"), [(None, ""), (2.0, ", -47.5% from expected"), (0.0, ", +1.05 from expected")]
)
def test_the_measured_value(expected: float | None, deviation: str) -> None:
    interval = interval_of([Measured(1.0), Measured(1.1)])
    assert measured(group(expected=expected, measured=interval)) == f"1.05 (0.7343 to 1.366; 2 trials{deviation})"
    assert measured(group()) == "none"


def test_the_expectation_is_named_once_in_a_table_and_in_every_line() -> None:
    expectation = Expectation(quantity="loss/train", at_most=1, claim="It falls.", source="Us")
    judgement = Judgement(expectation, (group(), group()))
    first, second = rows([judgement])
    assert (first.expected, first.claim, first.source) == ("loss/train, median over all", "It falls.", "Us")
    assert (second.expected, second.claim, second.source) == ("", "", "")
    assert (
        list(lines([judgement]))
        == ["not enough data: loss/train, median over all, lr=0.1: none; accepted: 0.9 to 1.1. More is needed."] * 2
    )

"""The judgement of an expectation: one per group of trials that differ only in the seed, and one in all."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from orchestrator.analysis.expectations.interval import Interval
from orchestrator.study.expectations.expectation import Expectation


class Outcome(StrEnum):
    """The outcome for an expectation."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    NOT_ENOUGH_DATA = "not enough data"


@dataclass(frozen=True)
class GroupJudgement:
    """The judgement of an expectation for one group of trials."""

    label: str
    """The settings that distinguish the group within the sweep; empty if there is only one."""
    outcome: Outcome
    sentence: str
    """What was measured, and what would be needed if that does not suffice."""
    low: float
    high: float
    """The accepted range; may be infinite."""
    expected: float | None = None
    measured: Interval | None = None
    """None if no trial has a value."""

    @property
    def deviation(self) -> float:
        """Measured minus expected value, relative to the expected value unless that is 0; NaN without either."""
        if self.expected is None or self.measured is None:
            return math.nan
        return (self.measured.value - self.expected) / (abs(self.expected) or 1.0)


@dataclass(frozen=True)
class Judgement:
    """An expectation and its judgement for every group."""

    expectation: Expectation
    groups: tuple[GroupJudgement, ...]

    @property
    def outcome(self) -> Outcome:
        """Not reproduced if any group is not; reproduced if all are."""
        found = {group.outcome for group in self.groups}
        order = (Outcome.NOT_REPRODUCED, Outcome.NOT_ENOUGH_DATA, Outcome.REPRODUCED)
        return next((outcome for outcome in order if outcome in found), Outcome.NOT_ENOUGH_DATA)


def summary(judgements: Sequence[Judgement]) -> str:
    """Returns the number of expectations by outcome: ``4 reproduced, 1 not reproduced``."""
    counts = Counter(judgement.outcome for judgement in judgements)
    return ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])


def judgement_table(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row per expectation and group, with all numbers. The content of ``expectations.csv``."""
    return pd.DataFrame([_row(j, group) for j in judgements for group in j.groups], columns=_COLUMNS)


_COLUMNS = [
    "quantity", "over", "statistic", "group", "outcome", "measured", "spread", "interval_low", "interval_high",
    "trials", "expected", "deviation", "accepted_low", "accepted_high", "claim", "source", "sentence",
]  # fmt: skip


def _row(judgement: Judgement, group: GroupJudgement) -> dict[str, object]:
    expectation, measured = judgement.expectation, group.measured
    return {
        "quantity": expectation.quantity,
        "over": expectation.over,
        "statistic": expectation.statistic,
        "group": group.label,
        "outcome": group.outcome.value,
        "measured": measured.value if measured else math.nan,
        "spread": measured.spread if measured else math.nan,
        "interval_low": measured.low if measured else math.nan,
        "interval_high": measured.high if measured else math.nan,
        "trials": measured.trials if measured else 0,
        "expected": group.expected,
        "deviation": group.deviation,
        "accepted_low": group.low,
        "accepted_high": group.high,
        "claim": expectation.claim,
        "source": expectation.source,
        "sentence": group.sentence,
    }

"""Judgements in words, for the report and the terminal."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.analysis.expectations.interval import Interval
from orchestrator.analysis.expectations.judgement import GroupJudgement, Judgement, Outcome, summary
from orchestrator.counted import counted


class Judgements(tuple[Judgement, ...]):
    """The judgements of the expectations of a sweep, in the order of its file."""

    def __repr__(self) -> str:
        """Returns one line per expectation and group, and the number of expectations by outcome."""
        return "\n".join([*lines(self), summary(self)])

    @property
    def outcomes(self) -> set[Outcome]:
        """The outcomes that occur."""
        return {judgement.outcome for judgement in self}


@dataclass(frozen=True)
class Row:
    """A judgement of one group of trials, as text."""

    expected: str
    claim: str
    source: str
    group: str
    accepted: str
    measured: str
    outcome: str
    sentence: str


def rows(judgements: Sequence[Judgement]) -> Iterator[Row]:
    """Returns one row per expectation and group."""
    for judgement in judgements:
        expectation = judgement.expectation
        for position, group in enumerate(judgement.groups):
            yield Row(
                "" if position else str(expectation),
                "" if position else expectation.claim,
                "" if position else expectation.source,
                group.label,
                accepted(group),
                measured(group),
                group.outcome.value,
                group.sentence,
            )


def accepted(group: GroupJudgement) -> str:
    """Returns the accepted range and the expected value: ``0.97 to 1.12 (1)``."""
    if math.isnan(group.low):
        return ""
    if math.isinf(group.low):
        text = f"at most {group.high:.4g}"
    elif math.isinf(group.high):
        text = f"at least {group.low:.4g}"
    else:
        text = f"{group.low:.4g} to {group.high:.4g}"
    return text if group.expected is None else f"{text} (expected {group.expected:.4g})"


def measured(group: GroupJudgement) -> str:
    """Returns the mean and its error: ``1.032 (1.021 to 1.043; 3 trials, deviation +3.2%)``."""
    found = group.measured
    if found is None:
        return "none"
    deviation = "" if math.isnan(group.deviation) else f", {_signed(group)} from expected"
    return f"{found.value:.4g} ({_interval(found)}; {counted(found.trials, 'trial')}{deviation})"


def _interval(found: Interval) -> str:
    return f"{found.low:.4g} to {found.high:.4g}"


def _signed(group: GroupJudgement) -> str:
    return f"{group.deviation:+.1%}" if group.expected else f"{group.deviation:+.3g}"


def lines(judgements: Sequence[Judgement]) -> Iterator[str]:
    """Returns one line per expectation and group, with the outcome first."""
    for judgement in judgements:
        for group in judgement.groups:
            what = f"{judgement.expectation}{f', {group.label}' if group.label else ''}"
            text = f"{group.outcome.value}: {what}: {measured(group)}; accepted: {accepted(group)}"
            yield f"{text}. {group.sentence}".rstrip()

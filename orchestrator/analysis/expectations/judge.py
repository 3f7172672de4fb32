"""Judges the expectations of a sweep by its records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.analysis.expectations.derived import sweep_interval, with_derived
from orchestrator.analysis.expectations.describe import Judgements
from orchestrator.analysis.expectations.interval import Interval, interval_of
from orchestrator.analysis.expectations.judgement import GroupJudgement, Judgement, Outcome
from orchestrator.analysis.expectations.measured import measured
from orchestrator.counted import counted
from orchestrator.store.frames import Frames
from orchestrator.study.config import TrialConfig
from orchestrator.study.expectations.derived import DERIVED
from orchestrator.study.expectations.expectation import Expectation

_LENGTH = ("seed", "epochs", "steps", "data.path")
"""Fields in which the trials of a group may differ."""
_Records = Mapping[str, pd.DataFrame]
"""Maps the id of a trial to its rows of `Frames.epochs`."""


@dataclass(frozen=True)
class _Group:
    label: str
    trials: tuple[TrialConfig, ...]
    low: float
    high: float
    expected: float | None


def judge_expectations(frames: Frames, expectations: Sequence[Expectation] | None = None) -> Judgements:
    """Judges expectations. None: the expectations of the sweep's last run."""
    chosen = frames.sweep.expect if expectations is None else expectations
    if not chosen:
        return Judgements()
    complete = with_derived(frames)
    records = {str(trial_id): rows for trial_id, rows in complete.epochs.groupby("trial_id")}
    return Judgements(Judgement(expectation, _judge(complete, records, expectation)) for expectation in chosen)


def _judge(frames: Frames, records: _Records, expectation: Expectation) -> tuple[GroupJudgement, ...]:
    groups = _groups(frames, expectation)
    if not groups:
        text = "No trial of the sweep matches; run the sweep's file again to add its trials."
        return (GroupJudgement("", Outcome.NOT_ENOUGH_DATA, text, math.nan, math.nan),)
    derived = DERIVED.get(expectation.quantity)
    if derived and derived.of_sweep:
        whole = _Group("", (), groups[0].low, groups[0].high, groups[0].expected)
        interval = sweep_interval(_part(frames, groups), expectation.quantity)
        return (
            _judge_interval(whole, interval, 1, "")
            if interval
            else _not_enough_data(whole, "It cannot be derived from the records."),
        )
    return tuple(_judge_group(frames, records, expectation, group, len(groups)) for group in groups)


def _groups(frames: Frames, expectation: Expectation) -> list[_Group]:
    """The groups of matching trials: all together, or those that differ only in the seed."""
    members: dict[str, list[TrialConfig]] = {}
    for trial in frames.sweep.trials:
        fields = trial.flat()
        if expectation.matches(fields):
            settings = {name: value for name, value in fields.items() if name not in _LENGTH}
            key = "" if expectation.together else repr(settings)
            members.setdefault(key, []).append(trial)
    found = []
    for trials in members.values():
        fields = trials[0].flat()
        label = _label(frames, trials[0]) if len(members) > 1 else ""
        found.append(_Group(label, tuple(trials), *expectation.bounds(fields), expectation.expected(fields)))
    return found


def _label(frames: Frames, trial: TrialConfig) -> str:
    """The label of a trial without its seed."""
    return " ".join(part for part in frames.sweep.label(trial).split(" ") if not part.startswith("seed="))


def _part(frames: Frames, groups: Sequence[_Group]) -> Frames:
    """The frames of some trials only."""
    ids = [trial.trial_id for group in groups for trial in group.trials]
    parts = {name: getattr(frames, name) for name in ("epochs", "trials", "samples")}
    kept = {name: part[part.trial_id.isin(ids)].reset_index(drop=True) for name, part in parts.items()}
    return Frames(frames.sweep, frames.provenance, **kept)


def _judge_group(
    frames: Frames, records: _Records, expectation: Expectation, group: _Group, groups: int
) -> GroupJudgement:
    states = frames.trials.set_index("trial_id").state
    diverged = sum(states[trial.trial_id] == "diverged" for trial in group.trials)
    completed = [trial for trial in group.trials if states[trial.trial_id] == "completed"]
    found = [measured(expectation, trial, records[trial.trial_id]) for trial in completed]
    values = [each for each in found if each is not None]
    unused = _unused_trials(len(group.trials) - len(completed) - diverged, len(found) - len(values))
    never = sum(math.isinf(each.value) for each in values)
    interval = interval_of(values) if values and not never else None
    if diverged or never:
        text = f"{diverged} diverged" if diverged else f"{never} never crossed the threshold"
        return _judgement(group, Outcome.NOT_REPRODUCED, f"Of {counted(len(group.trials), 'trial')}, {text}.", interval)
    if interval is None or interval.trials < expectation.seeds:
        text = f"{counted(len(values), 'trial')} with a value, at least {expectation.seeds} required. {unused}"
        return _judgement(group, Outcome.NOT_ENOUGH_DATA, text.strip(), interval)
    return _judge_interval(group, interval, groups, unused)


def _unused_trials(unfinished: int, without: int) -> str:
    parts = [f"{counted(unfinished, 'trial')} unfinished or failed"] if unfinished else []
    parts += [f"{counted(without, 'trial')} without the quantity in the selected records"] if without else []
    return f"Not used: {', '.join(parts)}." if parts else ""


def _not_enough_data(group: _Group, text: str) -> GroupJudgement:
    return _judgement(group, Outcome.NOT_ENOUGH_DATA, text, None)


def _judgement(group: _Group, outcome: Outcome, text: str, interval: Interval | None) -> GroupJudgement:
    return GroupJudgement(group.label, outcome, text, group.low, group.high, group.expected, interval)


def _judge_interval(group: _Group, interval: Interval, groups: int, unused: str) -> GroupJudgement:
    low, high = group.low, group.high
    if interval.inside(low, high):
        return _judgement(group, Outcome.REPRODUCED, unused, interval)
    if interval.outside(low, high, groups):
        return _judgement(group, Outcome.NOT_REPRODUCED, unused, interval)
    return _judgement(
        group, Outcome.NOT_ENOUGH_DATA, f"{_what_would_decide(interval, low, high)} {unused}".strip(), interval
    )


def _what_would_decide(interval: Interval, low: float, high: float) -> str:
    """What would decide between the outcomes."""
    distance = min(abs(interval.value - low), abs(interval.value - high))
    if interval.bound >= distance:
        return (
            f"The error of the measurement ({interval.bound:.2g}) is not below the distance to the limit "
            f"({distance:.2g}); measure more accurately, or record more often."
        )
    needed = interval.required_trials(low, high)
    if needed is None:
        return "More trials would not decide it soon: the spread is too large for this range."
    return f"About {needed} trials would decide it, with the same spread."

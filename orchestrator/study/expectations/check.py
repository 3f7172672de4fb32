"""The problems of expectations that only the trials of their sweep show."""

import difflib
from collections.abc import Iterator, Sequence

from orchestrator.study.config import TrialConfig
from orchestrator.study.expectations.derived import DERIVED
from orchestrator.study.expectations.expectation import Expectation
from orchestrator.study.expectations.expression import Expression, ExpressionError
from orchestrator.study.quantities.catalogue import BUILT_IN
from orchestrator.study.quantities.quantity import column_of
from orchestrator.study.record import SCALARS, VECTORS
from orchestrator.study.sweep_file_error import ConfigIssue, nearest

_ALWAYS = {quantity.key for quantity in SCALARS}
_MEASURED = {key for kind in BUILT_IN.values() for key in kind.record_keys}
"""Fields of `Record` that a trial has only with an estimator that measures them."""


def expectation_issues(expectations: Sequence[Expectation], trials: Sequence[TrialConfig]) -> list[ConfigIssue]:
    """Returns the problems of expectations with the trials of a sweep."""
    flat = [trial.flat() for trial in trials]
    issues: list[ConfigIssue] = []
    for position, expectation in enumerate(expectations):
        chosen = [trial for trial, fields in zip(trials, flat, strict=True) if expectation.matches(fields)]
        found = [*_where(expectation, flat, bool(chosen)), *_quantity(expectation, chosen)]
        found += _values(expectation, chosen)
        issues += [ConfigIssue(f"expect.{position}.{name}", value, text) for name, value, text in found]
    return issues


def _where(
    expectation: Expectation, flat: Sequence[dict[str, object]], matched: bool
) -> Iterator[tuple[str, object, str]]:
    known = {key for fields in flat for key in fields}
    unknown = [key for key in expectation.where if key not in known]
    for key in unknown:
        yield f"where.{key}", expectation.where[key], f"no trial has this field{nearest(key, known)}"
    if not matched and not unknown and flat:
        yield "where", expectation.where, "matches no trial of the sweep; use values that the trials have"


def _quantity(expectation: Expectation, chosen: Sequence[TrialConfig]) -> Iterator[tuple[str, object, str]]:
    key = expectation.quantity
    if key in DERIVED:
        if DERIVED[key].of_sweep and (expectation.over != "all" or expectation.statistic != "median"):
            yield "quantity", key, "is one number for all records; remove over and statistic"
        return
    lacking = next((trial for trial in chosen if not _has(trial, key)), None)
    if lacking is None:
        return
    if makers := [name for name, kind in BUILT_IN.items() if _declares(kind, key)]:
        yield "quantity", key, f"is not measured by these trials; add {' or '.join(makers)} to measurement.estimators"
        return
    vectors = {quantity.key for quantity in VECTORS}
    if key in vectors:
        yield "quantity", key, "is a vector, expected a number; name a scalar quantity"
        return
    declared = {quantity.key for kind in BUILT_IN.values() for quantity in kind.quantities}
    close = difflib.get_close_matches(key, {*_ALWAYS, *declared, *DERIVED} - vectors, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "docs/reference/quantities.md lists all"
    yield "quantity", key, f"unknown quantity; {hint}"


def _has(trial: TrialConfig, key: str) -> bool:
    """Whether a trial records a quantity, as far as the config shows: functions of the user can return any key."""
    if key in _ALWAYS - _MEASURED:
        return True
    estimators = trial.measurement.estimators
    return any(each.name not in BUILT_IN or _declares(type(each), key) for each in estimators)


def _declares(kind: type, key: str) -> bool:
    declared = getattr(kind, "quantities", ())
    return key in getattr(kind, "record_keys", ()) or any(each.member(column_of(key)) for each in declared)


def _values(expectation: Expectation, chosen: Sequence[TrialConfig]) -> Iterator[tuple[str, object, str]]:
    for name, expressions in expectation.expressions.items():
        for expression in expressions:
            if reason := next(filter(None, (_no_value(expression, trial) for trial in chosen)), None):
                yield name, expression.text, reason
                return
    if expectation.together and len({expectation.bounds(trial.flat()) for trial in chosen}) > 1:
        yield "together", True, "needs one accepted range, but it depends on fields that vary; restrict where"
    reversed_bounds = (bounds for trial in chosen if (bounds := expectation.bounds(trial.flat()))[0] > bounds[1])
    for low, high in reversed_bounds:
        yield "at_least", low, f"is above at_most, which is {high:g}; exchange them"
        return


def _no_value(expression: Expression, trial: TrialConfig) -> str | None:
    try:
        expression.value(trial.flat())
    except ExpressionError as error:
        return str(error)
    return None

"""The records of a trial that an expectation is about, its key ``over``: ``last third``, ``step >= 500``, ``peak``."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from orchestrator.study.expectations.expression import Expression, ExpressionError

_FRACTIONS = {"half": 1 / 2, "third": 1 / 3, "quarter": 1 / 4, "fifth": 1 / 5, "tenth": 1 / 10}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_END = re.compile(rf"(first|last) (?:({'|'.join(_FRACTIONS)})|([1-9][0-9]*) records?|(record))")
_RANGE = re.compile(rf"(?:{_NUMBER} *(<=?) *)?(step|epoch)(?: *(<=?|>=?) *{_NUMBER})?")
_CROSSING = re.compile(r"first crossing of (.+)")
_EXPECTED = (
    "must be all, first or last and half, third, quarter, fifth, tenth, record or a number of records (last third, "
    "last 10 records), a range such as step >= 500, epoch < 10 or 256 <= step < 896, first crossing of X, or peak"
)


@dataclass(frozen=True)
class QuantityCurve:
    """The records of a trial that have a quantity, in order of time."""

    steps: Sequence[float]
    """Optimizer steps before each record; NaN if not known."""
    epochs: Sequence[float]
    values: Sequence[float]
    """Finite values of the quantity."""


class Selection(Protocol):
    """A choice of records."""

    def select(self, curve: QuantityCurve, fields: Mapping[str, Any]) -> Sequence[int]:
        """Returns the positions of the selected records, ascending. `fields` are those of the trial."""
        ...

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The expressions that need a value for every trial."""
        ...


@dataclass(frozen=True)
class All:
    """All records."""

    expressions: tuple[Expression, ...] = ()

    def select(self, curve: QuantityCurve, fields: Mapping[str, Any]) -> Sequence[int]:
        """Returns all positions."""
        return range(len(curve.values))


@dataclass(frozen=True)
class Peak:
    """The first record with the largest value."""

    expressions: tuple[Expression, ...] = ()

    def select(self, curve: QuantityCurve, fields: Mapping[str, Any]) -> Sequence[int]:
        """Returns one position; none if there are no records."""
        values = list(curve.values)
        return [values.index(max(values))] if values else []


@dataclass(frozen=True)
class End:
    """Records at the beginning or the end of a trial."""

    which: Literal["first", "last"]
    fraction: float = 0.0
    """Part of the time from record 0 to the last record; 0.0 if `count` is given."""
    count: int = 0
    expressions: tuple[Expression, ...] = ()

    def select(self, curve: QuantityCurve, fields: Mapping[str, Any]) -> Sequence[int]:
        """Returns the positions of records in this part of the trial."""
        positions = range(len(curve.values))
        if self.count:
            return positions[: self.count] if self.which == "first" else positions[-self.count :]
        if not positions:
            return []
        end = curve.epochs[-1]
        if self.which == "first":
            return [i for i in positions if curve.epochs[i] <= self.fraction * end * (1 + 1e-12)]
        return [i for i in positions if curve.epochs[i] >= (1 - self.fraction) * end * (1 - 1e-12)]


@dataclass(frozen=True)
class Range:
    """Records in a range of steps or epochs."""

    unit: Literal["step", "epoch"]
    bounds: tuple[tuple[str, float], ...]
    """Comparisons that hold, such as ``(">=", 500.0)``."""
    expressions: tuple[Expression, ...] = ()

    def select(self, curve: QuantityCurve, fields: Mapping[str, Any]) -> Sequence[int]:
        """Returns the positions of the records in the range."""
        moments = curve.steps if self.unit == "step" else curve.epochs
        return [
            i for i, moment in enumerate(moments) if all(_COMPARE[sign](moment, bound) for sign, bound in self.bounds)
        ]


@dataclass(frozen=True)
class Crossing:
    """The first record at which the quantity has crossed a threshold, up or down."""

    threshold: Expression

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The threshold."""
        return (self.threshold,)

    def select(self, curve: QuantityCurve, fields: Mapping[str, Any]) -> Sequence[int]:
        """Returns one position; none if the quantity never crosses the threshold."""
        threshold = self.threshold.value(fields)
        below = [value < threshold for value in curve.values]
        return [below.index(not below[0])] if len(set(below)) == 2 else []


def parse_selection(text: str) -> Selection:
    """Parses a selection, the text of an expectation's key ``over``.

    Raises:
        ValueError: the text is not a selection, or the expression of a crossing is invalid.
    """
    text = " ".join(text.split())
    if text in ("all", "peak"):
        return All() if text == "all" else Peak()
    if found := _END.fullmatch(text):
        which: Any = found[1]
        return End(which, _FRACTIONS.get(found[2], 0.0), 1 if found[4] else int(found[3] or 0))
    if (found := _RANGE.fullmatch(text)) and (found[1] or found[5]):
        return _range(found)
    if found := _CROSSING.fullmatch(text):
        threshold = Expression(found[1])
        try:
            _ = threshold.fields
        except ExpressionError as error:
            raise ValueError(f"{found[1]!r} {error}") from None
        return Crossing(threshold)
    raise ValueError(_EXPECTED)


def _range(found: re.Match[str]) -> Range:
    unit: Any = found[3]
    bounds = [(_MIRRORED[found[2]], float(found[1]))] if found[1] else []
    if found[5]:
        bounds.append((found[4], float(found[5])))
    low = max((bound for sign, bound in bounds if sign.startswith(">")), default=-math.inf)
    high = min((bound for sign, bound in bounds if sign.startswith("<")), default=math.inf)
    if low > high or (low == high and any(len(sign) == 1 for sign, _ in bounds)):
        raise ValueError("selects no record: the lower bound is not below the upper bound")
    return Range(unit, tuple(bounds))

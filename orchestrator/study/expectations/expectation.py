"""What a sweep is expected to show: a quantity, the trials and records it is about, its value, and the source."""

import math
import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.study.expectations.expression import Expression, ExpressionError
from orchestrator.study.expectations.selection import Crossing, Selection, parse_selection
from orchestrator.study.parts.fields import Config, PositiveInt

Statistic = Literal["median", "mean", "min", "max", "first", "last", "step", "epoch"]
Number = float | str
"""A number, or an `Expression` of the trial's fields."""

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) *%")


class Expectation(Config):
    """An expected value of a statistic of a quantity. The report judges it by the stored records.

    The accepted values are given by ``value`` and ``within``, or by ``at_least`` and ``at_most``; then ``value`` is
    only reported next to the measured value.
    """

    quantity: Annotated[str, Field(min_length=1)]
    """The key of a recorded quantity, or the name of a derived one."""
    where: dict[str, Any] = Field(default_factory=dict)
    """The trials: the values of their fields by dotted name; a list contains alternatives. Empty: all trials."""
    over: str = "all"
    """The records of a trial; see `parse_selection`."""
    statistic: Statistic = "median"
    """Over the selected records. ``step`` and ``epoch`` are the moment of the first selected record."""
    value: Number | None = None
    within: Number | None = None
    """The accepted deviation from `value`: ``10%`` of it, or an absolute number."""
    at_least: Number | None = None
    at_most: Number | None = None
    seeds: PositiveInt = 2
    """Minimum number of trials in a group. With 1, a single trial is judged by its value and the error of the
    measurement; otherwise the spread over the trials is part of the error."""
    together: bool = False
    """Whether all matching trials form one group. Otherwise trials that differ only in the seed form a group."""
    claim: str = ""
    """What was published, in a sentence."""
    source: str = ""
    """Where it was published."""

    @field_validator("value", "at_least", "at_most")
    @classmethod
    def _valid_expression(cls, number: Number | None) -> Number | None:
        if isinstance(number, str):
            try:
                fields = Expression(number).fields
            except ExpressionError as error:
                raise ValueError(str(error)) from None
            if "seed" in fields:
                raise ValueError("uses seed, but one value is expected for all seeds; use other fields")
        return number

    @field_validator("within")
    @classmethod
    def _percentage_or_number(cls, within: Number | None) -> Number | None:
        size = _size(within)
        if within is not None and (size is None or size <= 0):
            raise ValueError("must be a positive number, or a percentage of value such as 10%")
        return within

    @field_validator("over")
    @classmethod
    def _valid_selection(cls, over: str) -> str:
        parse_selection(over)
        return over

    @model_validator(mode="after")
    def _one_kind_of_bounds(self) -> Self:
        bounded = self.at_least is not None or self.at_most is not None
        if self.within is not None and (bounded or self.value is None):
            raise ValueError("within needs value, and neither at_least nor at_most; give value and within, or bounds")
        if self.within is None and not bounded:
            raise ValueError("no accepted values are given; add within (with value), at_least or at_most")
        if isinstance(self.selection, Crossing) and self.statistic not in ("step", "epoch"):
            raise ValueError(f"statistic is {self.statistic}, expected step or epoch for a first crossing; write one")
        return self

    @cached_property
    def selection(self) -> Selection:
        """The parsed `over`."""
        return parse_selection(self.over)

    @property
    def expressions(self) -> dict[str, tuple[Expression, ...]]:
        """The expressions that need a value for every trial, by the name of their field."""
        numbers = {name: getattr(self, name) for name in ("value", "at_least", "at_most")}
        found = {name: (Expression(text),) for name, text in numbers.items() if isinstance(text, str)}
        return {**found, "over": self.selection.expressions}

    def matches(self, fields: dict[str, Any]) -> bool:
        """Whether the expectation is about a trial with these fields, by dotted name."""
        return all(
            key in fields and fields[key] in (wanted if isinstance(wanted, list) else [wanted])
            for key, wanted in self.where.items()
        )

    def expected(self, fields: dict[str, Any]) -> float | None:
        """The expected value for a trial with these fields; None if only bounds are given."""
        return _number(self.value, fields)

    def bounds(self, fields: dict[str, Any]) -> tuple[float, float]:
        """The smallest and the largest accepted value for a trial with these fields. They may be infinite."""
        size, value = _size(self.within), self.expected(fields)
        if size is not None and value is not None:
            allowed = size * abs(value) if isinstance(self.within, str) else size
            return value - allowed, value + allowed
        low, high = _number(self.at_least, fields), _number(self.at_most, fields)
        return -math.inf if low is None else low, math.inf if high is None else high

    def __str__(self) -> str:
        """What is expected, in short: ``stability/ratio, median over last third, optimizer.name adam``."""
        one = self.over in ("peak", "last record", "first record")
        between = " of " if self.statistic in ("step", "epoch") else " over "
        what = self.over if one and between == " over " else f"{self.statistic}{between}{self.over}"
        chosen = [f"{key} {_listed(wanted)}" for key, wanted in self.where.items()]
        return ", ".join([self.quantity, what, *chosen])


def _size(within: Number | None) -> float | None:
    """The accepted deviation as a number; None if there is none or the text is not a percentage."""
    if isinstance(within, str):
        found = _PERCENT.fullmatch(within.strip())
        return float(found[1]) / 100 if found else None
    return within


def _number(number: Number | None, fields: dict[str, Any]) -> float | None:
    return Expression(number).value(fields) if isinstance(number, str) else number


def _listed(wanted: Any) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)

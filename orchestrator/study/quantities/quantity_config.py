"""The base class of the settings of quantities."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_serializer

from orchestrator.study.parts.fields import Config, PositiveInt
from orchestrator.study.quantities.quantity import Quantity

Every = PositiveInt | Literal["1-2-5"]
SPARSE: Literal["1-2-5"] = "1-2-5"
"""Measured records 0, 1, 2, 5, 10, 20, 50, 100, ...: eight of the first 101."""
STORED: dict[str, bool] = {"stored": True}
"""The validation context of configs from a store."""


class QuantityConfig(Config):
    """Settings of a quantity. In a sweep file, the name alone stands for a quantity with default settings."""

    name: str
    every: Every = 1
    """Only measured records whose number is a multiple of this have the quantity. 1-2-5: only the measured records 0,
    1, 2, 5, 10, 20, 50, 100, ..."""

    quantities: ClassVar[tuple[Quantity, ...]] = ()
    """What is recorded besides the fields of `Record`."""
    record_keys: ClassVar[tuple[str, ...]] = ()
    """The fields of `Record` that are measured, by key."""
    cost: ClassVar[str] = ""
    """What one measurement costs, for the documentation."""
    first_defaults: ClassVar[Mapping[str, Any]] = {}
    """The first default of every setting whose default has changed.

    A trial id leaves out settings with their first default, so it keeps its meaning. A store contains these settings
    even if they have their default; if they are missing, it is older than the change."""

    @field_validator("every", mode="before")
    @classmethod
    def _number_or_sparse(cls, every: object) -> object:
        if every != SPARSE and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise ValueError(f"must be an integer of at least 1, or {SPARSE}: records 0, 1, 2, 5, 10, 20, 50, ...")
        return every

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, without the name."""
        return {key: value for key, value in self._written.items() if not self._is_default(key, value)}

    @property
    def _written(self) -> dict[str, Any]:
        return {
            key: value
            for key, value in self
            if key != "name" and (key in self.first_defaults or not self._is_default(key, value))
        }

    def _is_default(self, key: str, value: Any) -> bool:
        field = type(self).model_fields.get(key)
        return field is not None and bool(value == field.default)

    @model_serializer
    def _name_alone_if_default(self) -> str | dict[str, Any]:
        return {"name": self.name, **self._written} if self._written else self.name

    def __repr__(self) -> str:
        """Returns what a sweep file contains, which labels of trials show."""
        return repr({"name": self.name, **self.settings} if self.settings else self.name)

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name


def is_sparsely_due(number: int) -> bool:
    """Whether a number is 0 or has a leading digit 1, 2 or 5, followed by zeros only."""
    return number == 0 or str(number).rstrip("0") in {"1", "2", "5"}

"""The base class of the settings of quantities."""

from typing import Any, ClassVar

from pydantic import model_serializer

from orchestrator.study.parts.fields import Config, PositiveInt
from orchestrator.study.quantities.quantity import Quantity


class QuantityConfig(Config):
    """Settings of a quantity. In a sweep file, the name alone stands for a quantity with default settings."""

    name: str
    every: PositiveInt = 1
    """Only measured records whose number is a multiple of this have the quantity."""

    quantities: ClassVar[tuple[Quantity, ...]] = ()
    """What is recorded besides the fields of `Record`."""
    record_keys: ClassVar[tuple[str, ...]] = ()
    """The fields of `Record` that are measured, by key."""
    cost: ClassVar[str] = ""
    """What one measurement costs, for the documentation."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, without the name."""
        fields = type(self).model_fields
        return {
            key: value for key, value in self if key != "name" and not (key in fields and value == fields[key].default)
        }

    @model_serializer
    def _name_alone_if_default(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.settings} if self.settings else self.name

    def __repr__(self) -> str:
        """Returns what a sweep file contains, which labels of trials show."""
        return repr(self.model_dump())

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name}({settings})" if settings else self.name

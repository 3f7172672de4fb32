"""What the parts of a config have in common: strictness, ranges, and whether a field makes another trial."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

NOT_IDENTITY: dict[str, Any] = {"identity": False}
"""Marks a field that does not take part in the trial's id, as ``json_schema_extra``."""

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Config(BaseModel):
    """A part of a trial: no unknown keys, no silent conversions, no infinities, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def counts_for_identity(field: FieldInfo) -> bool:
    """Whether a field takes part in the trial's id."""
    return field.json_schema_extra != NOT_IDENTITY

"""The base class of configs, the types of fields, and the marker of fields that are not part of the trial id."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

NOT_IDENTITY: dict[str, Any] = {"identity": False}
"""The ``json_schema_extra`` of a field that is not part of the trial id."""

PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]


class Config(BaseModel):
    """Base class of all configs: immutable, no unknown keys, no implicit conversions, no infinities or NaN."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def counts_for_identity(field: FieldInfo) -> bool:
    """Whether a field is part of the trial id."""
    return field.json_schema_extra != NOT_IDENTITY

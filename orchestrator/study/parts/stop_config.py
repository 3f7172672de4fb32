"""The value of a recorded quantity at which a trial is complete before its last record."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, GetJsonSchemaHandler, ValidationInfo, model_serializer, model_validator
from pydantic_core import CoreSchema

from orchestrator.study.parts.fields import Config
from orchestrator.study.quantities.quantity_config import STORED

_KEYS = Literal[
    "loss/train",
    "loss/validation",
    "loss/test",
    "loss/ood",
    "accuracy/train",
    "accuracy/validation",
    "accuracy/test",
    "accuracy/ood",
    "r2/train",
    "r2/validation",
    "r2/test",
    "r2/ood",
]


class StopConfig(Config):
    """Completes a trial at the first record that reaches a threshold: a loss from above, accuracy or R2 from below.

    Sweep files write it as a mapping from the key to the threshold: ``{loss/train: 0.01}``.
    """

    key: _KEYS
    threshold: float

    @model_validator(mode="after")
    def _reachable(self, info: ValidationInfo) -> Self:
        if not self.key.startswith("loss/") and self.threshold > 1 and info.context != STORED:
            raise ValueError(
                f"{self.key} is {self.threshold:g}, expected at most 1, since accuracies and R2 never exceed it; "
                f"write a fraction, for example {self.key}: 0.99"
            )
        return self

    def reached(self, metrics: dict[str, float]) -> bool:
        """Whether a record with these scalars, by key, completes the trial. False if the key was not evaluated."""
        value = metrics.get(self.key)
        if value is None:
            return False
        return value <= self.threshold if self.key.startswith("loss/") else value >= self.threshold

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The form in sweep files."""
        return {
            "description": cls.__doc__,
            "type": "object",
            "properties": {key: {"type": "number"} for key in get_args(_KEYS)},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }

    @model_serializer
    def _as_in_sweep_files(self) -> dict[str, float]:
        return {self.key: self.threshold}


def _one_key(value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() == {"key", "threshold"}:
        return value
    if len(value) != 1:
        names = ", ".join(map(str, value)) or "nothing"
        raise ValueError(f"names {names}, expected one quantity and its threshold, for example {{loss/train: 0.01}}")
    ((key, threshold),) = value.items()
    return {"key": key, "threshold": threshold}


Stop = Annotated[StopConfig, BeforeValidator(_one_key)]

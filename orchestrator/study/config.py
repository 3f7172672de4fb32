"""What a trial is: one model, one data set, one optimizer, one seed, and what is measured."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

SCHEMA = 1
"""Counted in every trial id; raised only if a field ever changes its meaning."""

_NOT_IDENTITY = {"identity": False}


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CnnConfig(_Config):
    """The paper's network: two 3x3 convolutions of 32 channels, each with ReLU and 2x2 max pool, two hidden layers."""

    name: Literal["cnn"]


class DigitsData(_Config):
    """scikit-learn's 1,797 real images of handwritten digits, 1x8x8: embedded, no download."""

    name: Literal["digits"]


class ImageFolderData(_Config):
    """A folder with train/<class>/* and test/<class>/* images, all of one size."""

    name: Literal["image_folder"]
    path: Annotated[str, Field(min_length=1, json_schema_extra=_NOT_IDENTITY)]

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        # Ray changes the working directory of every trial: a relative path would point elsewhere there.
        try:
            return str(Path(path).expanduser().resolve())
        except RuntimeError:
            raise ValueError(f"there is no home folder {path.partition('/')[0]!r}; write the path out") from None


PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class SgdConfig(_Config):
    """Stochastic gradient descent, with heavy-ball momentum where momentum > 0."""

    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Momentum = 0.0
    weight_decay: NonNegativeFloat = 0.0


class AdamConfig(_Config):
    """Adam (Kingma and Ba, 2015); weight_decay adds to the gradient, as in the original."""

    name: Literal["adam"]
    lr: PositiveFloat
    beta1: Momentum = 0.9
    beta2: Momentum = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


Estimator = Literal["lanczos", "algorithm1"]


class MeasurementConfig(_Config):
    """What is estimated after every epoch, and on which share of the training images."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    estimators: Annotated[tuple[Estimator, ...], Field(strict=False)] = ("lanczos", "algorithm1")
    lanczos_products: Annotated[int, Field(ge=1)] = 10
    algorithm1_every: Annotated[int, Field(ge=1)] = 1
    algorithm1_iterations: Annotated[int, Field(ge=1)] = 10
    algorithm1_probes: Annotated[int, Field(ge=2)] = 10

    @field_validator("estimators")
    @classmethod
    def _each_once(cls, estimators: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(estimators)) < len(estimators):
            raise ValueError("each estimator may be named once")
        # Their order in the file decides nothing, so it must not make another trial.
        return tuple(name for name in get_args(Estimator) if name in estimators)


class TrialConfig(_Config):
    """Everything that decides what a trial computes. Two equal configs are one trial."""

    model: CnnConfig = CnnConfig(name="cnn")
    data: Annotated[DigitsData | ImageFolderData, Field(discriminator="name")]
    optimizer: Annotated[SgdConfig | AdamConfig, Field(discriminator="name")]
    batch_size: Annotated[int, Field(ge=1)] = 64
    epochs: Annotated[int, Field(ge=1, json_schema_extra=_NOT_IDENTITY)]
    measurement: MeasurementConfig = MeasurementConfig()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def trial_id(self) -> str:
        """Twelve hex digits of the digest of what the trial is: the fields that differ from their defaults.

        New fields change no old id. Paths and the number of epochs do not count: the first epochs of a longer
        trial are the shorter trial.
        """
        content = json.dumps({"schema": SCHEMA, **_identity(self)}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def flat(self) -> dict[str, Any]:
        """Every field under its dotted name, ``{"optimizer.lr": 0.05, ...}``: MLflow params and frame columns."""
        return dict(_flat(self))


def counts_for_identity(field: FieldInfo) -> bool:
    """Whether a field takes part in the trial's id."""
    return field.json_schema_extra != _NOT_IDENTITY


def _identity(config: BaseModel) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if not counts_for_identity(field) or (not field.is_required() and value == field.default):
            continue
        content[name] = _identity(value) if isinstance(value, BaseModel) else value
    return content


def _flat(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

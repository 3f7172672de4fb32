"""The config of a trial: its model, data, optimizer, seed and measurement."""

import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

from orchestrator.study.data_config import AugmentationConfig, Data
from orchestrator.study.fields import NOT_IDENTITY, Config, PositiveInt, counts_for_identity
from orchestrator.study.loss_config import CrossEntropyConfig, Loss
from orchestrator.study.model_config import CnnConfig, Model
from orchestrator.study.optimizer_config import ConstantSchedule, CosineSchedule, Optimizer, Schedule

SCHEMA = 1
"""Version of the config format, which is part of every trial id. It changes only if the meaning of a field changes."""

Estimator = Literal["lanczos", "exact_trace", "sampled_trace", "algorithm1"]


class MeasurementConfig(Config):
    """The estimators that run after every epoch, and the fraction of the training images that they use."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    estimators: Annotated[tuple[Estimator, ...], Field(strict=False)] = ("lanczos", "algorithm1")
    lanczos_products: PositiveInt = 10
    lanczos_coarse_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Each step of the coarse stage, which computes the start vector of Lanczos, uses at most this fraction of the
    subset; 0.0: no coarse stage, the start vector is random."""
    lanczos_tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Lanczos stops once lambda_max has converged to this relative accuracy; 0.0: it uses all products."""
    algorithm1_every: PositiveInt = 1
    algorithm1_iterations: PositiveInt = 10
    algorithm1_probes: Annotated[int, Field(ge=2)] = 10

    @field_validator("estimators")
    @classmethod
    def _each_once(cls, estimators: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(estimators)) < len(estimators):
            raise ValueError("names an estimator twice; name each once")
        if {"exact_trace", "sampled_trace"} <= set(estimators):
            raise ValueError("exact_trace and sampled_trace estimate the same quantity; name one of them")
        # The order in the file has no effect, so it must not change the trial id.
        return tuple(name for name in get_args(Estimator) if name in estimators)

    @model_validator(mode="after")
    def _coarse_and_fine(self) -> Self:
        if self.lanczos_coarse_fraction and self.lanczos_products < 2:
            raise ValueError(
                "lanczos_products is 1, expected at least 2 with a lanczos_coarse_fraction, one for each stage"
            )
        return self


class TrialConfig(Config):
    """Everything that determines the results of a trial. Two equal configs are one trial."""

    model: Model = CnnConfig(name="cnn")
    data: Data
    loss: Loss = CrossEntropyConfig(name="cross_entropy")
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: Optimizer
    schedule: Schedule = ConstantSchedule(name="constant")
    batch_size: int | Literal["full"] = 64
    """``full``: all training images in one batch, in the fixed order of the data."""
    epochs: Annotated[int, Field(ge=1, json_schema_extra=NOT_IDENTITY)]
    measurement: MeasurementConfig = MeasurementConfig()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("batch_size", mode="before")
    @classmethod
    def _number_or_full(cls, size: object) -> object:
        if size != "full" and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError("must be an integer of at least 1, or full")
        return size

    @model_validator(mode="after")
    def _warmup_ends_before_training(self) -> Self:
        if isinstance(self.schedule, CosineSchedule) and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs is {self.schedule.warmup_epochs}, expected less than epochs, which is "
                f"{self.epochs}: cosine annealing needs epochs after the warm-up"
            )
        return self

    @property
    def trial_id(self) -> str:
        """Twelve hexadecimal digits of a digest over the fields that differ from their defaults.

        So adding a field with a default changes no existing id. The id does not depend on paths. It depends on the
        number of epochs only if the schedule does. Otherwise a shorter trial equals the beginning of a longer one.
        """
        content = {"schema": SCHEMA, **_identity(self)}
        if self.schedule_needs_epochs:
            content["epochs"] = self.epochs
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def images_per_batch(self, images: int) -> int:
        """Number of images in a batch, except the last of an epoch, which may be smaller.

        Args:
            images: number of training images.
        """
        return images if self.batch_size == "full" else self.batch_size

    @property
    def schedule_needs_epochs(self) -> bool:
        """Whether the learning rate of the first epochs depends on the total number of epochs."""
        return isinstance(self.schedule, CosineSchedule)

    def flat(self) -> dict[str, Any]:
        """All fields by dotted name, ``{"optimizer.lr": 0.05, ...}``."""
        return dict(_flat(self))

    def chosen(self) -> dict[str, Any]:
        """The fields without a default, and those that differ from their default, by dotted name."""
        return dict(_flat(self, skip_defaults=True))


def _identity(config: BaseModel) -> dict[str, Any]:
    content: dict[str, Any] = dict(config.model_extra or {})
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if not counts_for_identity(field) or (not field.is_required() and value == field.default):
            continue
        content[name] = _identity(value) if isinstance(value, BaseModel) else value
    return content


def _flat(config: BaseModel, prefix: str = "", skip_defaults: bool = False) -> Iterator[tuple[str, Any]]:
    fields = type(config).model_fields
    for name, value in config:
        field = fields.get(name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.", skip_defaults)
        elif not (skip_defaults and field and not field.is_required() and value == field.default):
            yield f"{prefix}{name}", value

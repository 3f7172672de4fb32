"""The config of a trial: its model, data, optimizer, seed and measurement."""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.study.cadence import Cadence, RecordEvery
from orchestrator.study.parts.data_config import AugmentationConfig, Data
from orchestrator.study.parts.fields import NOT_IDENTITY, Config, PositiveInt, counts_for_identity
from orchestrator.study.parts.loss_config import CrossEntropyConfig, Loss
from orchestrator.study.parts.model_config import CnnConfig, Model
from orchestrator.study.parts.optimizer_config import ConstantSchedule, CosineSchedule, Optimizer, Schedule
from orchestrator.study.parts.stop_config import Stop
from orchestrator.study.quantities.catalogue import Estimator, canonical, estimators_named
from orchestrator.study.quantities.quantity_config import SPARSE, STORED, QuantityConfig, is_sparsely_due
from orchestrator.study.record import Record

SCHEMA = 1
"""Version of the config format, which is part of every trial id. It changes only if the meaning of a field changes."""


class MeasurementConfig(Config):
    """The quantities that are measured at records, and the fraction of the training images that they use."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    estimators: Annotated[tuple[Estimator, ...], Field(strict=False)] = estimators_named("lanczos", "algorithm1")
    every: PositiveInt = 1
    """Only records whose number is a multiple of this are measured."""
    lanczos_products: PositiveInt = 10
    lanczos_coarse_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Each step of the coarse stage, which computes the start vector of Lanczos, uses at most this fraction of the
    subset; 0.0: no coarse stage, the start vector is random."""
    lanczos_tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Lanczos stops once lambda_max has converged to this relative accuracy; 0.0: it uses all products."""
    algorithm1_every: PositiveInt = 1
    """Algorithm 1 runs in measured records whose number is a multiple of this."""
    algorithm1_iterations: PositiveInt = 10
    algorithm1_probes: Annotated[int, Field(ge=2)] = 10

    @field_validator("estimators")
    @classmethod
    def _each_once(cls, estimators: tuple[QuantityConfig, ...]) -> tuple[QuantityConfig, ...]:
        names = [each.name for each in estimators]
        if len(set(names)) < len(names):
            raise ValueError("names an estimator twice; name each once")
        if {"exact_trace", "sampled_trace"} <= set(names):
            raise ValueError("exact_trace and sampled_trace estimate the same quantity; name one of them")
        if any(each.name == "algorithm1" and each.every != 1 for each in estimators):
            raise ValueError("algorithm1 has an interval of its own; write algorithm1_every next to estimators")
        # The order in the file has no effect, so it must not change the trial id.
        return canonical(estimators)

    @model_validator(mode="after")
    def _coarse_and_fine(self) -> Self:
        if self.lanczos_coarse_fraction and self.lanczos_products < 2:
            raise ValueError(
                "lanczos_products is 1, expected at least 2 with a lanczos_coarse_fraction, one for each stage"
            )
        return self

    def due(self, number: int) -> tuple[QuantityConfig, ...]:
        """Returns the quantities that are measured at a record."""
        return tuple(each for each in self.estimators if self._is_due(each, number))

    def _is_due(self, quantity: QuantityConfig, number: int) -> bool:
        sparse = quantity.every == SPARSE
        return number % self.interval(quantity) == 0 and (not sparse or is_sparsely_due(number // self.every))

    def interval(self, quantity: QuantityConfig) -> int:
        """Returns the number of records from one with this quantity to the next; with `SPARSE`, the fewest of them."""
        every = self.algorithm1_every if quantity.name == "algorithm1" else quantity.every
        return self.every if every == SPARSE else math.lcm(self.every, every)

    def at_every_record(self) -> Self:
        """Returns the same measurement, with every quantity due at every record."""
        estimators = tuple(each.model_copy(update={"every": 1}) for each in self.estimators)
        return self.model_copy(update={"estimators": estimators, "every": 1, "algorithm1_every": 1})


class TrialConfig(Config):
    """Everything that determines the results of a trial. Two equal configs are one trial."""

    model: Model = CnnConfig(name="cnn")
    """The network: built in, or your own class as ``package.module:name``."""
    data: Data
    """The data set: built in, or your own function as ``package.module:name``."""
    loss: Loss = CrossEntropyConfig(name="cross_entropy")
    """The loss: built in, or your own function as ``package.module:name``."""
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: Optimizer
    """The optimizer: built in, or a class as ``torch.optim:NAdam``."""
    schedule: Schedule = ConstantSchedule(name="constant")
    batch_size: Annotated[int | Literal["full"], Field(json_schema_extra={"minimum": 1})] = 64
    """``full``: all training images in one batch, in the fixed order of the data."""
    steps: Annotated[int | None, Field(ge=1, json_schema_extra=NOT_IDENTITY)] = None
    """Length of the trial in optimizer steps; None if it is given by `epochs`."""
    epochs: Annotated[int | None, Field(ge=1, json_schema_extra=NOT_IDENTITY, validate_default=True)] = None
    """Length of the trial in epochs; None if it is given by `steps`."""
    record_every: Annotated[str, Field(json_schema_extra={"pattern": f"^{RecordEvery.PATTERN}$"})] = "1 epoch"
    """Distance between two records: ``5 epochs`` if the trial lasts epochs, ``50 steps`` if it lasts steps."""
    evaluate_every: PositiveInt = 1
    """Validation, test and shifted samples are evaluated in records whose number is a multiple of this."""
    stop: Stop | None = None
    """Ends the trial before its last record."""
    measurement: MeasurementConfig = MeasurementConfig()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @field_validator("batch_size", mode="before")
    @classmethod
    def _number_or_full(cls, size: object) -> object:
        if size != "full" and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError("must be an integer of at least 1, or full")
        return size

    @field_validator("record_every", mode="before")
    @classmethod
    def _epochs_or_steps(cls, text: object) -> str:
        return str(RecordEvery.parse(text))

    @field_validator("epochs")
    @classmethod
    def _required_without_steps(cls, epochs: int | None, info: ValidationInfo) -> int | None:
        if epochs is None and info.data.get("steps", 0) is None:  # an invalid value of steps is reported by itself
            raise PydanticCustomError("missing_length", "is required and not given; write epochs: N, or steps: N")
        return epochs

    @model_validator(mode="after")
    def _one_length_in_the_unit_of_records(self, info: ValidationInfo) -> Self:
        every = RecordEvery.parse(self.record_every)
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs is {self.epochs} and steps is {self.steps}, expected only one; remove the other")
        if self.steps is not None and every.unit == "epoch":
            raise ValueError(
                f"record_every is {self.record_every}, expected a number of steps in a trial that lasts {self.steps} "
                "steps; write for example record_every: 50 steps, or give the length as epochs: N"
            )
        if self.epochs is not None and every.unit == "step":
            raise ValueError(
                f"record_every is {self.record_every}, expected a number of epochs in a trial that lasts epochs: "
                f"{self.epochs}; give the length as steps: N, where N is epochs times batches per epoch, or write for "
                "example record_every: 1 epoch"
            )
        length = self.cadence.length
        if every.count > length and info.context != STORED:  # a store may contain trials of earlier versions
            whole = RecordEvery(length, every.unit)
            raise ValueError(
                f"record_every is {self.record_every}, expected at most the length of the trial, {whole}: no record "
                f"would come due before its end; record more often, or write record_every: {whole} for a single record"
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends_before_training(self) -> Self:
        epochs = self.epochs
        if isinstance(self.schedule, CosineSchedule) and epochs and self.schedule.warmup_epochs >= epochs:
            raise ValueError(
                f"schedule.warmup_epochs is {self.schedule.warmup_epochs}, expected less than epochs, which is "
                f"{epochs}: cosine annealing needs epochs after the warm-up"
            )
        return self

    @property
    def trial_id(self) -> str:
        """Twelve hexadecimal digits of a digest over the fields that differ from their defaults.

        So adding a field with a default changes no existing id. The id does not depend on paths. It depends on the
        length of the trial only if its records do. Otherwise a shorter trial equals the beginning of a longer one.
        """
        content = {"schema": SCHEMA, **_identity(self)}
        if self.records_need_length:
            content |= {"steps": self.steps} if self.cadence.in_steps else {"epochs": self.epochs}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def images_per_batch(self, images: int) -> int:
        """Number of images in a batch, except the last of an epoch, which may be smaller.

        Args:
            images: number of training images.
        """
        return images if self.batch_size == "full" else self.batch_size

    def steps_per_epoch(self, images: int) -> int:
        """Number of batches in an epoch of this many training images."""
        return -(-images // self.images_per_batch(images))

    @property
    def cadence(self) -> Cadence:
        """The moments of the records."""
        length = self.epochs if self.steps is None else self.steps
        assert length is not None, "validated"
        return Cadence(RecordEvery.parse(self.record_every), length)

    @property
    def records(self) -> int:
        """The number of the last record. Record 0 is the untrained model."""
        return self.cadence.last

    @property
    def records_need_length(self) -> bool:
        """Whether the content or moments of records depend on the total length of the trial."""
        return isinstance(self.schedule, CosineSchedule) or self.cadence.uneven

    def ends_at(self, record: Record) -> bool:
        """Whether the trial is complete with this record, although it is not the last."""
        return self.stop is not None and not record.diverged and self.stop.reached(record.metrics())

    def until(self, number: int) -> Self:
        """The same trial with this record as its last one, but at least record 1."""
        name = "steps" if self.cadence.in_steps else "epochs"
        return self.model_copy(update={name: max(1, number) * self.cadence.every.count})

    def flat(self) -> dict[str, Any]:
        """All fields by dotted name, ``{"optimizer.lr": 0.05, ...}``."""
        return dict(_flat(self))

    def chosen(self) -> dict[str, Any]:
        """The fields without a default, and those that differ from their default, by dotted name."""
        return dict(_flat(self, skip_defaults=True))


def _identity(config: BaseModel) -> dict[str, Any]:
    content: dict[str, Any] = dict(config.model_extra or {})
    first = config.first_defaults if isinstance(config, QuantityConfig) else {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if not counts_for_identity(field) or (not field.is_required() and value == first.get(name, field.default)):
            continue
        content[name] = _identity_of(value)
    return content


def _identity_of(value: Any) -> Any:
    if isinstance(value, QuantityConfig):
        content = _identity(value)
        return content if len(content) > 1 else value.name
    if isinstance(value, BaseModel):
        return _identity(value)
    return [_identity_of(each) for each in value] if isinstance(value, tuple) else value


def _flat(config: BaseModel, prefix: str = "", skip_defaults: bool = False) -> Iterator[tuple[str, Any]]:
    fields = type(config).model_fields
    for name, value in config:
        field = fields.get(name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.", skip_defaults)
        elif not (skip_defaults and field and not field.is_required() and value == field.default):
            yield f"{prefix}{name}", value

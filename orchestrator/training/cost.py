"""Estimates the time of a record on this machine by timing its parts: training, evaluating, measuring.

Parts of different trials with the same cost compare equal, so each distinct part of a sweep is timed only once.
"""

import copy
import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn, optim

from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.parts.model_config import TorchvisionConfig
from orchestrator.study.parts.user_code_config import UserCodeConfig
from orchestrator.study.record import Record
from orchestrator.training.cuda.captured_step import training_step
from orchestrator.training.data.data_splits import DataSplits
from orchestrator.training.data.stand_in import probe_data
from orchestrator.training.evaluation import evaluate
from orchestrator.training.loop import fitting_model
from orchestrator.training.loss import build_loss
from orchestrator.training.measurement.context import Training
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.measurement_check import check_measurement
from orchestrator.training.models.user_code import NETWORK
from orchestrator.training.optimizers.build import build_optimizer
from orchestrator.training.trainer import train_epoch

_TRAINED_STEPS = 100
"""Training steps before a measurement is timed, because Lanczos needs twice as many products without training."""
_SMALL_BATCH = 64
"""Batch size of these steps in trials with full batches."""
_TIMED_IMAGES = {"cpu": 1000, "cuda": 10_000}
"""Samples per timed pass of training or evaluation. This is enough to make the fixed cost of a pass negligible."""
_TIMED_SECONDS = 0.25
"""Minimum timed duration. Shorter passes are repeated."""
_MEASURED_SECONDS = 4.0
"""Measurements that take longer are timed on a subset of the images."""
_WARM_UP_PASSES = {"cpu": 1, "cuda": 5}
"""Untimed passes at the start. On CUDA they include the capture of the step, which happens in the third batch."""


class PartKind(StrEnum):
    """The activities that lead to a record."""

    TRAINING = "training"
    EVALUATING = "evaluating"
    MEASURING = "measuring"


@dataclass(frozen=True)
class RecordPart:
    """A part of the work for one record. Equal parts cost the same."""

    kind: PartKind
    key: str
    """Every setting on which the cost depends."""
    config: TrialConfig = field(compare=False)
    """One of the trials that contain this part."""
    number: int = field(compare=False)
    """Number of one of the records that contain this part."""


def record_parts(config: TrialConfig, numbers: Sequence[int]) -> Counter[RecordPart]:
    """Returns the parts of the given records of a trial, and how often each part occurs."""
    # The loss is part of the model here: all parts of a record evaluate both.
    model, data, measurement = (cost_key(config.model), config.loss), repr(config.data), config.measurement
    training = (model, data, cost_key(config.optimizer), config.augmentation, config.batch_size, config.record_every)
    keys = [(PartKind.TRAINING, repr(training), number) for number in numbers if number > 0]
    for number in numbers:
        evaluated = (model, data, measurement.fraction, _held_out(config, number))
        keys.append((PartKind.EVALUATING, repr(evaluated), number))
        if number % measurement.every == 0:
            keys.append((PartKind.MEASURING, repr((model, data, due_measurement(measurement, number))), number))
    return Counter(RecordPart(kind, key, config, number) for kind, key, number in keys)


def _held_out(config: TrialConfig, number: int) -> bool:
    return number % config.evaluate_every == 0


def due_measurement(measurement: MeasurementConfig, number: int) -> MeasurementConfig:
    """Returns the measurement config of a measured record with only the estimators that are due."""
    return measurement.model_copy(update={"estimators": measurement.due(number)}).at_every_record()


def cost_key(config: Any) -> str:
    """Returns the settings of a model or optimizer that affect its cost.

    For a float of a built-in model or optimizer, only whether it is zero matters. Every argument of a user's class or
    of an architecture of torchvision may matter.
    """
    if isinstance(config, UserCodeConfig | TorchvisionConfig):
        return repr(config)
    return repr({name: _cost_value(value) for name, value in config})


def _cost_value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return cost_key(value)
    return bool(value) if isinstance(value, float) else value


@dataclass(frozen=True)
class PartTime:
    """The time of a part of a record, in seconds."""

    seconds: float
    quantities: Mapping[str, float] = field(default_factory=dict)
    """Seconds by quantity, of parts that measure."""


def time_part(part: RecordPart, device: torch.device) -> PartTime:
    """Returns the time of a part on all the data.

    Raises:
        ValueError: if the model does not fit the data, or cannot be measured.
        UserCodeError: if the user's own network raises.
    """
    data = probe_data(part.config.data, device)
    if part.kind is PartKind.MEASURING:
        model = fitting_model(part.config, data).to(device)
        check_measurement(part.config, model, build_loss(part.config.loss, data), data)
    timed = {
        PartKind.TRAINING: _training_time,
        PartKind.EVALUATING: _evaluating_time,
        PartKind.MEASURING: _measuring_time,
    }
    with NETWORK.errors(part.config.model.name, f"timed while {part.kind.value}"):
        return timed[part.kind](part, data, device)


def _training_time(part: RecordPart, data: DataSplits, device: torch.device) -> PartTime:
    """Times some steps with the trial's batch size and extrapolates to all steps before a record.

    A full batch is timed on some images, because its time is proportional to their number.
    """
    config, size = part.config, part.config.images_per_batch(len(data.train))
    if config.batch_size == "full":
        size = min(size, _TIMED_IMAGES[device.type])
    steps = len(data.train) / size if config.batch_size == "full" else math.ceil(len(data.train) / size)
    timed_steps = min(int(steps), max(1, _TIMED_IMAGES[device.type] // size))
    some = data.first(timed_steps * size, 1, 1)
    model = fitting_model(config, data).to(device)
    optimizer = build_optimizer(config.optimizer, model.parameters())
    step = training_step(model, optimizer, some, config)
    train_once = functools.partial(train_epoch, model, optimizer, some, config, 1, step)
    epoch_seconds = _mean_seconds(train_once, device, _WARM_UP_PASSES[device.type]) / timed_steps * steps
    return PartTime(epoch_seconds * _epochs_per_record(config, len(data.train)))


def _epochs_per_record(config: TrialConfig, images: int) -> float:
    every = config.cadence.every
    return every.count / config.steps_per_epoch(images) if every.unit == "step" else every.count


def _evaluating_time(part: RecordPart, data: DataSplits, device: torch.device) -> PartTime:
    """Times the evaluation of some images and extrapolates to all images."""
    model, held_out = fitting_model(part.config, data).to(device), _held_out(part.config, part.number)
    subset = max(1, round(part.config.measurement.fraction * len(data.train)))
    sizes = (subset, len(data.validation), len(data.test)) if held_out else (subset, 0, 0)
    share = min(1.0, _TIMED_IMAGES[device.type] / _evaluated_images(*sizes))
    few = [max(1, round(share * size)) for size in sizes]
    some = data.first(*few)
    loss = build_loss(part.config.loss, data)
    evaluate_once = functools.partial(evaluate, model, some, some.measurement_subset(1.0), 0, loss, held_out)
    seconds = _mean_seconds(evaluate_once, device, 1)
    return PartTime(seconds * _evaluated_images(*sizes) / _evaluated_images(*few))


def _evaluated_images(subset: int, validation: int, test: int) -> int:
    return subset + validation + 2 * test  # the test images are evaluated with and without noise


def _measuring_time(part: RecordPart, data: DataSplits, device: torch.device) -> PartTime:
    """Times a measurement on a few chunks of the trial's chunk size and extrapolates to all images.

    The time of two chunks determines how many chunks are used.
    """
    settings = part.config.measurement
    model, optimizer = _trained_model(part.config, device)
    model.eval()
    inputs, targets = data.measurement_subset(settings.fraction)
    loss = build_loss(part.config.loss, data)
    training = Training(part.config, optimizer, data)
    chunk = Measurement(settings, 0, inputs, targets, loss).chunk_size(model)

    def measured(images: int) -> PartTime:
        # The steps of a coarse start have as many images as with all of them.
        coarse = min(settings.lanczos_coarse_fraction * len(inputs), chunk) / images
        same_steps = settings.model_copy(update={"lanczos_coarse_fraction": coarse})
        measurement = Measurement(same_steps, 0, inputs[:images], targets[:images], loss)
        record = Record(number=part.number, timestamp_ms=0, loss_train=1.0)
        found = measurement.complete(record, model, training)
        return PartTime(found.time_measure_seconds or 0.0, found.time_per_quantity)

    images = min(len(inputs), 2 * chunk)
    taken = measured(images)
    if (times := int(_MEASURED_SECONDS / taken.seconds)) > 1:
        images = min(len(inputs), times * images)
        taken = measured(images)
    share = images / len(inputs)
    return PartTime(taken.seconds / share, {name: seconds / share for name, seconds in taken.quantities.items()})


@functools.lru_cache(maxsize=1)
def _trained_model(config: TrialConfig, device: torch.device) -> tuple[nn.Module, optim.Optimizer]:
    """Returns model and optimizer after `_TRAINED_STEPS` training steps, or untrained ones if training diverges."""
    data = probe_data(config.data, device)
    model = fitting_model(config, data).to(device)
    untrained = copy.deepcopy(model)
    fresh = build_optimizer(config.optimizer, untrained.parameters())
    optimizer = build_optimizer(config.optimizer, model.parameters())
    if config.batch_size == "full":  # steps on full batches would take too long
        config = config.model_copy(update={"batch_size": _SMALL_BATCH})
    images = _TRAINED_STEPS * config.images_per_batch(len(data.train))
    train_epoch(model, optimizer, data.first(images, 1, 1), config, 1)
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    return (model, optimizer) if finite else (untrained, fresh)


def _mean_seconds(run: Callable[[], object], device: torch.device, warm_ups: int) -> float:
    """Returns the mean time of a run, after `warm_ups` untimed runs."""
    for _ in range(warm_ups):
        run()
    runs, started = 0, _synchronized_time(device)
    while True:
        run()
        runs += 1
        if (spent := _synchronized_time(device) - started) >= _TIMED_SECONDS:
            return spent / runs


def _synchronized_time(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()

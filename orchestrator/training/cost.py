"""What the epochs of a trial cost here, found by running the real loop on slices of the real amount of data.

An epoch is made of parts: training, evaluating, measuring. Parts that cost the same are equal, whatever trial they come
from, so each is probed once for a whole sweep.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch

from orchestrator.study.config import MeasurementConfig, TrialConfig
from orchestrator.study.data_config import AugmentationConfig
from orchestrator.study.model_config import ModuleConfig
from orchestrator.study.optimizer_config import ConstantSchedule, SgdConfig
from orchestrator.study.record import EpochRecord
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.data.images import Images
from orchestrator.training.data.stand_in import probe_data
from orchestrator.training.loop import train
from orchestrator.training.measurement.measurement import Measurement
from orchestrator.training.models.networks import build_model

_STAND_IN = 0.001
"""For every number that is not zero: a learning rate or a decay costs the same whatever it is."""
_PLAIN: dict[str, Any] = {
    "augmentation": AugmentationConfig(),
    "optimizer": SgdConfig(name="sgd", lr=_STAND_IN),
    "schedule": ConstantSchedule(name="constant"),
    "batch_size": 64,
    "epochs": 1,
    "seed": 0,
}
"""What decides nothing about the cost of evaluating and measuring."""
_TRAINED_IMAGES = {"cpu": 256, "cuda": 8192}
"""In an epoch on a slice, or one batch: enough to outweigh what comes between two epochs."""
_WARM_UP_EPOCHS = {"cpu": 2, "cuda": 5}
"""Epoch 0 trains nothing. On CUDA the third batch is captured, which may be the third epoch's."""
_EVALUATED_IMAGES = 1000
"""On a CPU, where an evaluation takes seconds; a GPU evaluates all there are."""
_WARM_UP_IMAGES = 8
_LONG_SECONDS = 1.0
"""A chunk that takes longer is all arithmetic, as good as linear in its images. On the cnn, 30 products over a quarter
of a chunk, one chunk and six took 1.7, 6.0 and 34.4 s."""
_FOR_EVER = 10**9


class Kind(StrEnum):
    """What an epoch's time is spent on."""

    TRAINING = "training"
    EVALUATING = "evaluating"
    MEASURING = "measuring"


@dataclass(frozen=True)
class Part:
    """A piece of an epoch. Equal parts cost the same."""

    kind: Kind
    config: TrialConfig
    """A trial that has this part: whatever does not matter for its cost has the same value in all of them."""


def parts(config: TrialConfig, epochs: Iterable[int]) -> Counter[Part]:
    """What these epochs of a trial are made of, and how often."""
    plain = config.model_copy(update={**_PLAIN, "model": _without_numbers(config.model)})
    measurement = config.measurement
    trained = plain.model_copy(
        update={
            "augmentation": config.augmentation,
            "optimizer": _without_numbers(config.optimizer),
            "batch_size": config.batch_size,
            "measurement": MeasurementConfig(fraction=1e-9, estimators=()),
        }
    )
    evaluated = MeasurementConfig(fraction=measurement.fraction, estimators=())
    due = [_due(measurement, epoch) for epoch in epochs]
    found = Counter({Part(Kind.EVALUATING, plain.model_copy(update={"measurement": evaluated})): len(due)})
    found[Part(Kind.TRAINING, trained)] = sum(epoch > 0 for epoch in epochs)
    for estimators, count in Counter(due).items():
        measured = measurement.model_copy(update={"estimators": estimators, "algorithm1_every": 1})
        found[Part(Kind.MEASURING, plain.model_copy(update={"measurement": measured}))] = count
    return +found


def _due(measurement: MeasurementConfig, epoch: int) -> tuple[Any, ...]:
    """The estimators of an epoch."""
    left_out = "algorithm1" if epoch % measurement.algorithm1_every else None
    return tuple(name for name in measurement.estimators if name != left_out)


def _without_numbers(config: Any) -> Any:
    if isinstance(config, ModuleConfig):  # what the numbers of other people's networks mean is not ours to say
        return config
    numbers = {name: _STAND_IN for name, value in config if isinstance(value, float) and value}
    return config.model_copy(update=numbers)


def seconds(part: Part, device: torch.device, budget: float) -> float:
    """How long a part takes in an epoch on all the data, in seconds.

    Args:
        part: what to probe.
        device: where.
        budget: seconds of work to time, about: what is quicker is repeated.

    Raises:
        ValueError: where the model does not fit the data, or a network of the user's own cannot be built.
    """
    data = probe_data(part.config.data, device)
    probe = {Kind.TRAINING: _training, Kind.EVALUATING: _evaluating, Kind.MEASURING: _measuring}[part.kind]
    return probe(part.config, data, device, budget)


def _training(config: TrialConfig, data: ResidentData, device: torch.device, budget: float) -> float:
    trained = _TRAINED_IMAGES[device.type]
    images = min(len(data.train), max(1, trained // config.batch_size) * config.batch_size)
    loop = _records(config.model_copy(update={"epochs": _FOR_EVER}), _slice(data, images, 1, 1), device)
    seconds = _mean(loop, "time_train_seconds", budget, warm_up=_WARM_UP_EPOCHS[device.type])
    return seconds / math.ceil(images / config.batch_size) * math.ceil(len(data.train) / config.batch_size)


def _evaluating(config: TrialConfig, data: ResidentData, device: torch.device, budget: float) -> float:
    sizes = _subset_size(config, data), len(data.validation), len(data.test)
    whole = sizes[0] + sizes[1] + 2 * sizes[2]  # the test images twice: as they are, and under noise
    share = min(1.0, _EVALUATED_IMAGES / whole) if device.type == "cpu" else 1.0
    few = [max(1, round(share * size)) for size in sizes]
    seconds = _mean(_again(config, _slice(data, *few), device), "time_evaluate_seconds", budget, warm_up=1)
    return seconds * whole / (few[0] + few[1] + 2 * few[2])


def _measuring(config: TrialConfig, data: ResidentData, device: torch.device, budget: float) -> float:
    """From two slices what more images cost, and what comes once: one and three chunks, or less where that is long."""
    whole = _subset_size(config, data)
    chunk = _chunk_size(config, data, device)

    def measured(images: int, budget: float) -> float:
        return _mean(_again(config, _slice(data, images, 1, 1), device), "time_measure_seconds", budget)

    measured(min(_WARM_UP_IMAGES, whole), 0.0)
    if whole <= 3 * chunk:
        return measured(whole, budget)
    one = measured(chunk, budget)
    if one > _LONG_SECONDS:
        few = chunk // 8
        per_image = (one - (measured(few, 0.0) if few else 0.0)) / (chunk - few)
        return one + per_image * (whole - chunk)
    three = measured(3 * chunk, budget)
    return max(three, one + (three - one) / 2 * (whole / chunk - 1))


def _mean(records: Iterator[EpochRecord], time: str, budget: float, warm_up: int = 0) -> float:
    """The mean of a time over records, until it fills the budget; the first ones are left out where others follow."""
    times: list[float] = []
    for record in records:
        times.append(getattr(record, time) or 0.0)
        # A network that gives no finite loss is not measured: no budget would ever be filled.
        if record.diverged or (len(times) > warm_up and sum(times[warm_up:]) >= budget):
            break
    counted = times[warm_up:] or times[-1:]
    return sum(counted) / len(counted)


def _records(config: TrialConfig, data: ResidentData, device: torch.device) -> Iterator[EpochRecord]:
    return (trained.record for trained in train(config, data, device))


def _again(config: TrialConfig, data: ResidentData, device: torch.device) -> Iterator[EpochRecord]:
    """Epoch 0 on a slice, over and over; all of the slice's training images are its measurement subset."""
    all_of_it = config.measurement.model_copy(update={"fraction": 1.0})
    batch = max(2, len(data.train))  # trained on by nobody, but checked
    sliced = config.model_copy(update={"measurement": all_of_it, "batch_size": batch})
    while True:
        yield next(_records(sliced, data, device))


def _subset_size(config: TrialConfig, data: ResidentData) -> int:
    return max(1, round(config.measurement.fraction * len(data.train)))


def _chunk_size(config: TrialConfig, data: ResidentData, device: torch.device) -> int:
    model = build_model(config.model, data.shape, len(data.classes), config.seed).to(device)
    subset = _slice(data, min(2, len(data.train)), 1, 1).measurement_subset(1.0)
    return Measurement(config.measurement, config.seed, *subset).chunk_size(model.eval())


def _slice(data: ResidentData, train_images: int, validation_images: int, test_images: int) -> ResidentData:
    return replace(
        data,
        train=_first(data.train, train_images),
        validation=_first(data.validation, validation_images),
        test=_first(data.test, test_images),
        ood_noise=data.ood_noise[:test_images],
    )


def _first(images: Images, count: int) -> Images:
    return Images(images.pixels[:count], images.labels[:count])

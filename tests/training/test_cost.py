"""Cost estimates: the parts of an epoch, and the extrapolation from a few images to all."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.study.config import TrialConfig
from orchestrator.study.record import Record
from orchestrator.training import cost
from orchestrator.training.cost import PartKind, RecordPart, due_measurement, record_parts, time_part
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train
from orchestrator.training.measurement.measurement import Measurement
from tests.training.trials import CPU, digits, small_trial


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with reproducible(1):
        yield


def kinds(trial: TrialConfig, epochs: range) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for part, count in record_parts(trial, epochs).items():
        found.setdefault(part.kind, []).append(count)
    return {kind: sorted(counts) for kind, counts in found.items()}


def part_of(trial: TrialConfig, kind: PartKind) -> RecordPart:
    (part,) = (part for part in record_parts(trial, range(1, 2)) if part.kind is kind)
    return part


def with_measurement(**changes: Any) -> TrialConfig:
    return small_trial(measurement={**small_trial().measurement.model_dump(), **changes})


def test_parts_cover_the_given_epochs() -> None:
    every_third = with_measurement(algorithm1_every=3)
    # Algorithm 1 runs in epochs 0, 3 and 6, but not in the five others. Epoch 0 has no training.
    assert kinds(every_third, range(8)) == {"training": [7], "evaluating": [8], "measuring": [3, 5]}
    assert kinds(every_third, range(7, 8)) == {"training": [1], "evaluating": [1], "measuring": [1]}
    assert kinds(every_third, range(4, 8)) == {"training": [4], "evaluating": [4], "measuring": [1, 3]}
    assert kinds(small_trial(), range(1)) == {"evaluating": [1], "measuring": [1]}
    assert kinds(with_measurement(estimators=["lanczos"], algorithm1_every=3), range(8))["measuring"] == [8]


def test_records_without_measurement_or_evaluation_are_separate_parts() -> None:
    trial = small_trial(evaluate_every=3, measurement={**small_trial().measurement.model_dump(), "every": 4})
    assert kinds(trial, range(8)) == {"training": [7], "evaluating": [3, 5], "measuring": [2]}


def test_training_takes_as_long_as_the_steps_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_mean_seconds", lambda run, device, warm_ups: 2.1)
    in_steps = small_trial(epochs=None, steps=100, record_every="7 steps")
    seconds = [time_part(part_of(trial, PartKind.TRAINING), CPU).seconds for trial in (small_trial(), in_steps)]
    assert seconds == pytest.approx([seconds[0], seconds[0] * 7 / 21])
    rare = small_trial(epochs=6, record_every="3 epochs")
    assert time_part(part_of(rare, PartKind.TRAINING), CPU).seconds == pytest.approx(3 * seconds[0])


def test_other_estimators_run_in_epochs_without_algorithm1() -> None:
    trial = with_measurement(algorithm1_every=4)
    measured = {
        tuple(each.name for each in due_measurement(trial.measurement, part.number).estimators): count
        for part, count in record_parts(trial, range(6)).items()
        if part.kind is PartKind.MEASURING
    }
    assert measured == {("lanczos", "algorithm1"): 2, ("lanczos",): 4}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 9},
        {"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.5}},
        {"schedule": {"name": "step", "every": 2}},
        {"model": {"name": "mlp", "hidden": [20, 10], "init_scale": 0.2}},
    ],
)
def test_settings_that_do_not_affect_cost_give_equal_parts(change: dict[str, Any]) -> None:
    assert record_parts(small_trial(**change), range(3)) == record_parts(small_trial(), range(3))


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"batch_size": 32}, {"training"}),
        ({"batch_size": "full"}, {"training"}),
        ({"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "sam": {"rho": 0.1}}}, {"training"}),
        ({"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "gradient_clip": 1.0}}, {"training"}),
        ({"optimizer": {"name": "sgd", "lr": 0.05}}, {"training"}),  # without momentum there is no buffer
        ({"optimizer": {"name": "adam", "lr": 0.05}}, {"training"}),
        ({"augmentation": {"flip": True}}, {"training"}),
        ({"model": {"name": "cnn", "batch_norm": True}}, {"training", "evaluating", "measuring"}),
        ({"model": {"name": "mlp", "hidden": [20, 10], "activation": "tanh"}}, {"training", "evaluating", "measuring"}),
        ({"model": {"name": "cnn", "dropout": 0.1}}, {"training", "evaluating", "measuring"}),
        ({"data": {"name": "digits", "train_subset": 100}}, {"training", "evaluating", "measuring"}),
        ({"measurement": {"fraction": 0.1}}, {"evaluating", "measuring"}),
        ({"measurement": {"fraction": 0.05, "lanczos_products": 9}}, {"measuring"}),
        ({"record_every": "2 epochs"}, {"training"}),
        ({"evaluate_every": 2}, {"evaluating"}),
    ],
)
def test_settings_that_affect_cost_give_different_parts(change: dict[str, Any], differing: set[str]) -> None:
    ours, theirs = record_parts(small_trial(**change), range(3)), record_parts(small_trial(), range(3))
    assert {part.kind.value for part in ours if part not in theirs} == differing


SLIM = {"name": "torchvision", "architecture": "mobilenet_v3_small", "width_mult": 0.25}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"name": "resnet"}, {"name": "resnet", "depth": 14}),
        ({"name": "resnet"}, {"name": "resnet", "norm": "group"}),
        (SLIM, {**SLIM, "width_mult": 0.5}),
    ],
)
def test_sizes_and_norms_of_a_network_affect_its_cost(first: dict[str, Any], second: dict[str, Any]) -> None:
    ours, theirs = (record_parts(small_trial(model=model), range(2)) for model in (first, second))
    assert not set(ours) & set(theirs)


def test_the_length_of_the_ascent_does_not_affect_cost() -> None:
    ours, theirs = (
        record_parts(small_trial(optimizer={"name": "sgd", "lr": 0.05, "sam": {"rho": rho}}), range(2))
        for rho in (0.1, 0.2)
    )
    assert ours == theirs


def test_arguments_of_a_users_network_affect_its_cost() -> None:
    def wide(width: float) -> Counter[RecordPart]:
        return record_parts(small_trial(model={"name": "mine:Net", "width": width}), range(2))

    assert not set(wide(1.5)) & set(wide(2.0))


class Clock:
    """Replaces the parts of an epoch by fakes with known durations, which advance a fake clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, measure_image: float = 0.1, train_image: float = 0.0) -> None:
        self.now = 0.0
        self.train_image = train_image
        self.measure_image = measure_image
        self.measured: list[int] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(cost, "train_epoch", self.train_epoch)
        monkeypatch.setattr(cost, "evaluate", self.evaluate)
        monkeypatch.setattr(cost, "check_measurement", lambda *_: None)  # calls `complete` too
        monkeypatch.setattr(Measurement, "complete", lambda measurement, record, *_: self.complete(measurement, record))

    def train_epoch(
        self, model: Any, optimizer: Any, data: Any, config: TrialConfig, epoch: int, step: Any = None
    ) -> None:
        steps = math.ceil(len(data.train) / config.images_per_batch(len(data.train)))
        self.now += 2.0 * steps + self.train_image * len(data.train)

    def evaluate(self, model: Any, data: Any, subset: Any, number: int, loss: Any, held_out: bool) -> None:
        self.now += 0.001 * (len(subset[0]) + len(data.validation) + 2 * len(data.test))

    def complete(self, measurement: Measurement, record: Record) -> Record:
        self.measured.append(len(measurement.inputs))
        seconds = self.measure_image * len(measurement.inputs)
        return replace(record, time_measure_seconds=seconds, time_per_quantity={"lanczos": seconds / 4})


@pytest.mark.parametrize("measure_image", [1e-4, 0.1, 3.0])
@pytest.mark.parametrize("chunk", [9, 40, 4000])
def test_times_are_extrapolated_to_all_images(
    monkeypatch: pytest.MonkeyPatch, chunk: int, measure_image: float
) -> None:
    clock = Clock(monkeypatch, measure_image)
    monkeypatch.setattr(cost, "_TIMED_IMAGES", {"cpu": 300})
    monkeypatch.setattr(Measurement, "chunk_size", lambda self, model: chunk)
    trial = small_trial(batch_size=16, measurement={"fraction": 0.5})
    data = digits()
    subset = round(0.5 * len(data.train))
    times = {kind: time_part(part_of(trial, kind), CPU) for kind in PartKind}
    found = {kind: part.seconds for kind, part in times.items()}
    assert times[PartKind.MEASURING].quantities == {"lanczos": pytest.approx(measure_image * subset / 4)}
    assert found[PartKind.TRAINING] == pytest.approx(2.0 * math.ceil(len(data.train) / 16))
    images = subset + len(data.validation) + 2 * len(data.test)
    assert found[PartKind.EVALUATING] == pytest.approx(0.001 * images, rel=0.01)
    assert found[PartKind.MEASURING] == pytest.approx(measure_image * subset)
    assert sum(clock.measured) * measure_image <= measure_image * min(2 * chunk, subset) + cost._MEASURED_SECONDS + 1e-9


def test_a_network_that_cannot_be_measured_is_refused() -> None:
    trial = small_trial(model={"name": "tests.training.user_nets:HardSigmoid"})
    with pytest.raises(ValueError, match="HardSigmoid cannot be measured: the loss cannot be differentiated twice"):
        time_part(part_of(trial, PartKind.MEASURING), CPU)


def test_the_time_of_a_full_batch_is_proportional_to_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch, train_image=100.0)
    monkeypatch.setattr(cost, "_TIMED_IMAGES", {"cpu": 300})
    found = time_part(part_of(small_trial(batch_size="full"), PartKind.TRAINING), CPU).seconds
    assert found == pytest.approx((2.0 + 100.0 * 300) / 300 * len(digits().train))


@pytest.mark.parametrize("coarse_fraction", [0.0, 0.1])
def test_timed_chunks_have_the_size_of_those_of_the_whole_subset(
    monkeypatch: pytest.MonkeyPatch, coarse_fraction: float
) -> None:
    clock = Clock(monkeypatch)
    measurement = {"fraction": 0.5, "estimators": ["lanczos"], "lanczos_coarse_fraction": coarse_fraction}
    trial = small_trial(measurement=measurement)
    data = digits()
    model = cost.fitting_model(trial, data).eval()
    true = Measurement(trial.measurement, 0, *data.measurement_subset(0.5)).chunk_size(model)
    chunks: list[int] = []

    def complete(measurement: Measurement, record: Record, *_: object) -> Record:
        chunks.append(measurement.chunk_size(model))
        return clock.complete(measurement, replace(record))

    first = min(2 * true, round(0.5 * len(data.train)))
    clock.measure_image = 1.0 / first
    monkeypatch.setattr(Measurement, "complete", complete)
    time_part(part_of(trial, PartKind.MEASURING), CPU)
    assert chunks == [true, true]
    assert clock.measured == [first, min(4 * first, round(0.5 * len(data.train)))]


def test_a_model_that_diverges_is_measured_untrained() -> None:
    trial = small_trial(optimizer={"name": "sgd", "lr": 1e30})
    model, _ = cost._trained_model(trial, CPU)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_estimated_times_agree_with_the_training_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # CPU time, so that other processes on the machine do not affect the result.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    trial = small_trial(epochs=2, measurement={"fraction": 0.25, "estimators": ["lanczos"]})
    estimated = {kind: time_part(part_of(trial, kind), CPU).seconds for kind in PartKind}
    *_, last = train(trial, digits(), CPU)
    times = last.record.time_train_seconds, last.record.time_evaluate_seconds, last.record.time_measure_seconds
    for kind, real in zip(PartKind, times, strict=True):
        assert real is not None
        assert real / 2.5 < estimated[kind] < real * 2.5, kind

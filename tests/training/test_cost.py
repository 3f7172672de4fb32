"""What decides the cost of an epoch, and that slices are extrapolated to the whole."""

import functools
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from orchestrator.study.config import TrialConfig
from orchestrator.study.record import EpochRecord
from orchestrator.training import cost
from orchestrator.training.cost import Kind, Part, parts, seconds
from orchestrator.training.data.datasets import ResidentData
from orchestrator.training.environment import reproducible
from orchestrator.training.loop import train
from orchestrator.training.measurement.measurement import Measurement
from tests.training.trials import CPU, digits, small_trial


def kinds(trial: TrialConfig, epochs: range) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for part, count in parts(trial, epochs).items():
        found.setdefault(part.kind, []).append(count)
    return {kind: sorted(counts) for kind, counts in found.items()}


def part_of(trial: TrialConfig, kind: Kind) -> Part:
    (part,) = (part for part in parts(trial, range(1, 2)) if part.kind is kind)
    return part


def with_measurement(**changes: Any) -> TrialConfig:
    return small_trial(measurement={**small_trial().measurement.model_dump(), **changes})


def test_the_mix_is_that_of_the_missing_epochs() -> None:
    every_third = with_measurement(algorithm1_every=3)
    # Epochs 0, 3, 6 with Algorithm 1, five others; epoch 0 trains nothing.
    assert kinds(every_third, range(8)) == {"training": [7], "evaluating": [8], "measuring": [3, 5]}
    assert kinds(every_third, range(7, 8)) == {"training": [1], "evaluating": [1], "measuring": [1]}
    assert kinds(every_third, range(4, 8)) == {"training": [4], "evaluating": [4], "measuring": [1, 3]}
    assert kinds(small_trial(), range(1)) == {"evaluating": [1], "measuring": [1]}
    assert kinds(with_measurement(estimators=["lanczos"], algorithm1_every=3), range(8))["measuring"] == [8]


def test_an_epoch_without_algorithm1_measures_the_rest() -> None:
    measured = {
        part.config.measurement.estimators: count
        for part, count in parts(with_measurement(algorithm1_every=4), range(6)).items()
        if part.kind is Kind.MEASURING
    }
    assert measured == {("lanczos", "algorithm1"): 2, ("lanczos",): 4}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"epochs": 9},
        {"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.5}},
        {"schedule": {"name": "step", "every": 2}},
    ],
)
def test_what_does_not_matter_makes_no_other_part(change: dict[str, Any]) -> None:
    assert parts(small_trial(**change), range(3)) == parts(small_trial(), range(3))


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"batch_size": 32}, {"training"}),
        ({"optimizer": {"name": "sgd", "lr": 0.05}}, {"training"}),  # no momentum, no buffer
        ({"optimizer": {"name": "adam", "lr": 0.05}}, {"training"}),
        ({"augmentation": {"flip": True}}, {"training"}),
        ({"model": {"name": "cnn", "batch_norm": True}}, {"training", "evaluating", "measuring"}),
        ({"model": {"name": "cnn", "dropout": 0.1}}, {"training", "evaluating", "measuring"}),
        ({"data": {"name": "digits", "train_subset": 100}}, {"training", "evaluating", "measuring"}),
        ({"measurement": {"fraction": 0.1}}, {"evaluating", "measuring"}),
        ({"measurement": {"fraction": 0.05, "lanczos_products": 9}}, {"measuring"}),
    ],
)
def test_what_matters_makes_another_part(change: dict[str, Any], differing: set[str]) -> None:
    ours, theirs = parts(small_trial(**change), range(3)), parts(small_trial(), range(3))
    assert {part.kind.value for part in ours if part not in theirs} == differing


def test_numbers_of_a_network_of_ones_own_are_kept() -> None:
    def wide(width: float) -> Counter[Part]:
        return parts(small_trial(model={"name": "mine:Net", "width": width}), range(2))

    assert not set(wide(1.5)) & set(wide(2.0))


@dataclass(frozen=True)
class Trained:
    record: EpochRecord


def by_formula(config: TrialConfig, data: ResidentData, device: torch.device, once: float = 3.0) -> Iterator[Trained]:
    """A loop whose times are known: 2 s a batch, 1 ms an evaluated image, measuring a time and 0.1 s an image."""
    subset = len(data.measurement_subset(config.measurement.fraction)[0])
    for epoch in range(config.epochs + 1):
        yield Trained(
            EpochRecord(
                epoch=epoch,
                timestamp_ms=0,
                loss_train=1.0,
                time_train_seconds=2.0 * math.ceil(len(data.train) / config.batch_size) * (epoch > 0),
                time_evaluate_seconds=0.001 * (subset + len(data.validation) + 2 * len(data.test)),
                time_measure_seconds=once + 0.1 * subset,
            )
        )


@pytest.mark.parametrize("once", [3.0, 0.01])
@pytest.mark.parametrize("chunk", [9, 40, 4000])
def test_slices_are_extrapolated_to_all_images(monkeypatch: pytest.MonkeyPatch, chunk: int, once: float) -> None:
    monkeypatch.setattr(cost, "train", functools.partial(by_formula, once=once))
    monkeypatch.setattr(cost, "_EVALUATED_IMAGES", 300)
    monkeypatch.setattr(Measurement, "chunk_size", lambda self, model: chunk)
    trial = small_trial(batch_size=16, measurement={"fraction": 0.5})
    data = digits()
    subset = round(0.5 * len(data.train))
    images = subset + len(data.validation) + 2 * len(data.test)
    with reproducible(1):
        found = {kind: seconds(part_of(trial, kind), CPU, 1.0) for kind in Kind}
    assert found[Kind.TRAINING] == 2.0 * math.ceil(len(data.train) / 16)
    assert found[Kind.EVALUATING] == pytest.approx(0.001 * images, rel=0.01)
    assert found[Kind.MEASURING] == pytest.approx(once + 0.1 * subset)


def test_chunks_of_few_images_that_take_long_are_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "train", by_formula)
    monkeypatch.setattr(Measurement, "chunk_size", lambda self, model: 5)
    whole = round(0.5 * len(digits().train))
    found = seconds(part_of(small_trial(measurement={"fraction": 0.5}), Kind.MEASURING), CPU, 1.0)
    assert found == pytest.approx(3.5 * whole / 5)


def test_a_network_that_gives_no_finite_loss_ends_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: TrialConfig, data: ResidentData, device: torch.device) -> Iterator[Trained]:
        yield Trained(EpochRecord(epoch=0, timestamp_ms=0, loss_train=math.nan))

    monkeypatch.setattr(cost, "train", broken)
    assert [seconds(part_of(small_trial(), kind), CPU, 1.0) for kind in Kind] == [0.0, 0.0, 0.0]


def test_the_probe_agrees_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # The processor's seconds: another process beside this one must not decide.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    trial = small_trial(epochs=2, measurement={"fraction": 0.25, "estimators": ["lanczos"]})
    with reproducible(1):
        probed = {kind: seconds(part_of(trial, kind), CPU, 0.2) for kind in Kind}
        *_, last = train(trial, digits(), CPU)
    times = last.record.time_train_seconds, last.record.time_evaluate_seconds, last.record.time_measure_seconds
    for kind, real in zip(Kind, times, strict=True):
        assert real is not None
        assert real / 2.5 < probed[kind] < real * 2.5, kind

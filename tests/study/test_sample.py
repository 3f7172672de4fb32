"""Random trials are the same each time and on every machine where the file is read."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import kstest

from orchestrator.study.sample import SampleConfig, draw
from orchestrator.study.sweep import Sweep, load_sweep
from orchestrator.study.sweep_file_error import SweepFileError

BASE = """
name: drawn
trial:
  data: {name: digits}
  optimizer: {name: sgd, lr: 0.05}
  epochs: 2
"""
SAMPLE = "sample: {trials: 3, values: {optimizer.lr: {log_uniform: [1.0e-3, 1]}, batch_size: {choice: [32, 64]}}}\n"
Load = Callable[..., Sweep]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str, *overrides: str) -> Sweep:
        path = tmp_path / "drawn.yaml"
        path.write_text(BASE + text)
        return load_sweep(str(path), overrides)

    return load_text


def points(sweep: Sweep) -> list[tuple[Any, ...]]:
    return [(trial.optimizer.lr, trial.batch_size, trial.seed) for trial in sweep.trials]


def sample(**fields: Any) -> SampleConfig:
    values = {"a": {"uniform": [0, 1]}, "b": {"log_uniform": [1e-4, 1e-1]}}
    return SampleConfig.model_validate({"trials": 8, "values": values, **fields})


def test_draws_equal_recorded_values() -> None:
    assert draw(sample(trials=2)) == [{"a": 0.9328, "b": 0.000296}, {"a": 0.3525, "b": 0.01189}]
    assert draw(sample(trials=2, method="sobol")) == [{"a": 0.9328, "b": 0.000296}, {"a": 0.4328, "b": 0.009361}]


def test_trials_of_a_file_keep_their_ids(load: Load) -> None:
    assert [trial.trial_id for trial in load(SAMPLE).trials] == [trial.trial_id for trial in load(SAMPLE).trials]
    assert len(load(SAMPLE).trials) == 3


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_larger_number_of_points_does_not_change_the_first_ones(method: str) -> None:
    assert draw(sample(trials=20, method=method))[:8] == draw(sample(method=method))


def test_draws_do_not_depend_on_other_keys() -> None:
    more = {**sample().model_dump(exclude_none=True)["values"], "c": {"uniform": [0, 1]}}
    assert [point["a"] for point in draw(sample(values=more))] == [point["a"] for point in draw(sample())]


def test_another_seed_draws_other_values() -> None:
    for method in ("random", "sobol"):
        assert draw(sample(method=method, seed=1)) != draw(sample(method=method))


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_values_follow_their_distribution(method: str) -> None:
    drawn = draw(sample(trials=512, method=method, values={**sample().model_dump(exclude_none=True)["values"]}))
    assert kstest([point["a"] for point in drawn], "uniform").pvalue > 0.01
    logs = [(math.log10(point["b"]) + 4) / 3 for point in drawn]
    assert kstest(logs, "uniform").pvalue > 0.01
    assert all(0 <= point["a"] <= 1 and 1e-4 <= point["b"] <= 1e-1 for point in drawn)


def test_sobol_points_cover_the_range_evenly() -> None:
    drawn = sorted(point["a"] for point in draw(sample(trials=64, method="sobol")))
    assert max(later - earlier for earlier, later in pairwise(drawn)) < 2 / 64 + 1e-3


def test_every_choice_is_drawn() -> None:
    drawn = draw(sample(trials=100, values={"a": {"choice": [32, 64, {"name": "cnn"}]}}))
    for value in (32, 64, {"name": "cnn"}):
        assert 15 < sum(point["a"] == value for point in drawn) < 55


def test_every_point_is_combined_with_the_grid(load: Load) -> None:
    drawn = points(load(SAMPLE + "grid: {seed: [0, 1]}\n"))
    assert len(drawn) == 6
    alone = points(load(SAMPLE))
    assert drawn == [(lr, batch, seed) for lr, batch, _ in alone for seed in (0, 1)]


def test_an_overridden_key_is_not_drawn(load: Load) -> None:
    assert {lr for lr, _, _ in points(load(SAMPLE, "optimizer.lr=0.5"))} == {0.5}
    listed = points(load(SAMPLE, "optimizer.lr=[0.5, 0.25]"))
    assert {lr for lr, _, _ in listed} == {0.5, 0.25}
    both = load(SAMPLE, "optimizer.lr=0.5", "batch_size=16")
    assert points(both) == [(0.5, 16, 0)]


def test_the_number_of_points_can_be_overridden(load: Load) -> None:
    assert len(load(SAMPLE, "sample.trials=5").trials) == 5


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ("{trials: 0, values: {seed: {choice: [1]}}}", ["sample.trials = 0: must be greater than or equal to 1"]),
        ("{values: {seed: {choice: [1]}}}", ["sample.trials: is required and not given"]),
        (
            "{trials: 1, method: halton, values: {seed: {choice: [1]}}}",
            ["sample.method = 'halton': unknown name; valid here: random, sobol"],
        ),
        (
            "{trials: 1, values: {optimizer.lr: {uniform: [1, 0]}}}",
            ["uniform is [1.0, 0.0]; the first number must be the smaller one"],
        ),
        (
            "{trials: 1, values: {optimizer.lr: {log_uniform: [0, 1]}}}",
            ["log_uniform begins at 0.0; both numbers must be above 0"],
        ),
        ("{trials: 1, values: {optimizer.lr: {choice: []}}}", ["choice is empty; give at least one value"]),
        ("{trials: 1, values: {optimizer.lr: {}}}", ["give exactly one of uniform: [low, high]"]),
        ("{trials: 1, values: {optimizer.lr: {normal: [0, 1]}}}", ["normal", "unknown key"]),
        ("{trials: 1, values: {}}", ["sample.values", "at least 1"]),
        (
            "{trials: 1, values: {optimizer.lr: {uniform: [-2, -1]}}}",
            ["sample: optimizer.lr = -1.", "must be greater than 0"],
        ),
        ("{trials: 1, values: {epocs: {choice: [1]}}}", ["sample: epocs = 1: unknown key; did you mean 'epochs'?"]),
    ],
)
def test_invalid_samples_are_explained(load: Load, given: str, lines: list[str]) -> None:
    with pytest.raises(SweepFileError) as raised:
        load(f"sample: {given}\n")
    assert len(raised.value.issues) == 1
    for line in lines:
        assert line in str(raised.value)


def test_an_invalid_sample_hides_no_other_issue(load: Load) -> None:
    with pytest.raises(SweepFileError) as raised:
        load("  seed: -1\n" + SAMPLE.replace("[1.0e-3, 1]", "[0, 1]"), "data.name=digit")
    assert len(raised.value.issues) == 3


def test_a_key_in_both_sample_and_grid_is_refused(load: Load) -> None:
    with pytest.raises(SweepFileError, match="sample: optimizer.lr: is also in the grid; remove it from one"):
        load(SAMPLE + "grid: {optimizer.lr: [1, 2]}\n")

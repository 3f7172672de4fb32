"""The grid of a sweep file is expanded into distinct trials."""

import time

import pytest

from orchestrator.study.sweep import Resources, load_sweep
from tests.study.configs import config
from tests.study.sweep_files import BASE, Write, optimizer, problems


def test_sweep_without_a_grid_has_one_trial(write: Write) -> None:
    sweep = load_sweep(write(BASE))
    assert sweep.trials == (config(),)
    assert (sweep.name, sweep.description, sweep.resources) == ("x", "", Resources())


def test_the_last_key_of_a_grid_varies_fastest(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: {optimizer.lr: [0.2, 0.1], seed: [1, 0]}\n"))
    assert [(optimizer(t).lr, t.seed) for t in sweep.trials] == [(0.2, 1), (0.2, 0), (0.1, 1), (0.1, 0)]
    assert sweep.label(sweep.trials[0]) == "lr=0.2 seed=1"


def test_several_grids_produce_the_union_of_their_trials(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: [{seed: [0, 1]}, {seed: [1, 2], batch_size: [64]}, {batch_size: [32]}]\n"))
    assert [(t.seed, t.batch_size) for t in sweep.trials] == [(0, 64), (1, 64), (2, 64), (0, 32)]


def test_an_empty_grid_among_others_adds_the_base_trial(write: Write) -> None:
    assert [t.seed for t in load_sweep(write(BASE + "grid: [{}, {seed: [1]}]\n")).trials] == [0, 1]


def test_varied_optimizer_does_not_overwrite_varied_learning_rates(write: Write) -> None:
    for keys in ("optimizer.lr: [1, 2], optimizer: [{name: adam, lr: 3}]",
                 "optimizer: [{name: adam, lr: 3}], optimizer.lr: [1, 2]"):  # fmt: skip
        sweep = load_sweep(write(BASE + f"grid: {{{keys}}}\n"))
        assert [(t.optimizer.name, t.optimizer.lr) for t in sweep.trials] == [("adam", 1.0), ("adam", 2.0)]


def test_two_grids_may_share_lists_by_anchor(write: Write) -> None:
    sweep = load_sweep(write(BASE + "grid: [{seed: &seeds [0, 1]}, {seed: *seeds, batch_size: [32]}]\n"))
    assert [(t.seed, t.batch_size) for t in sweep.trials] == [(0, 64), (1, 64), (0, 32), (1, 32)]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            f"grid: {{seed: {list(range(1000))}, batch_size: {list(range(1, 101))}, epochs: {list(range(1, 101))}}}",
            "grid: asks for 10,000,000 trials (1,000 x 100 x 100), expected at most 100,000; "
            "remove values, or draw some by sample:",
        ),
        (
            f"grid: [{{seed: {list(range(400))}, batch_size: {list(range(1, 251))}}}, {{seed: [7]}}]",
            "grid: asks for 100,001 trials (400 x 250), expected at most 100,000; "
            "remove values, or draw some by sample:",
        ),
        (
            "sample: {trials: 100000000, values: {optimizer.lr: {uniform: [0.1, 0.2]}}}\ngrid: {seed: [0, 1]}",
            "sample: trials: asks for 200,000,000 trials (100,000,000 x 2), expected at most 100,000; draw fewer",
        ),
    ],
)
def test_too_many_trials_are_refused_immediately(write: Write, more: str, line: str) -> None:
    source = write(f"{BASE}{more}\n")
    began = time.monotonic()
    assert problems(source) == [line]
    assert time.monotonic() - began < 3

"""Groups of trials that differ only in the seed."""

import numpy as np

from orchestrator.analysis.figures.quantities.settings import (
    evenly_spaced,
    example_trials,
    finite_rows,
    optimizer_of_trials,
    setting_of_trials,
    short,
)
from tests.analysis import planted


def test_trials_that_differ_only_in_the_seed_have_one_setting() -> None:
    found = planted.frames(planted.two_rates(2, 1), {"loss_train": np.ones((4, 2))})
    assert list(setting_of_trials(found).values()) == ["lr=0.01", "lr=0.01", "lr=0.05", "lr=0.05"]


def test_settings_contain_neither_the_length_nor_the_distance_of_records() -> None:
    trials = [
        planted.trial(0, steps=steps, record_every=f"{every} steps", optimizer={"name": "sgd", "lr": rate})
        for steps, every, rate in ((20, 2, 0.1), (40, 4, 0.2))
    ]
    found = planted.frames(trials, {"loss_train": np.ones((2, 11))}, steps_per_epoch=10)
    assert list(setting_of_trials(found).values()) == ["lr=0.1", "lr=0.2"]


def test_a_sweep_of_seeds_alone_is_named_after_its_optimizer() -> None:
    found = planted.frames([planted.trial(seed, 1) for seed in (0, 1)], {"loss_train": np.ones((2, 2))})
    assert set(setting_of_trials(found).values()) == {"sgd"}


def test_sam_is_an_optimizer_of_its_own() -> None:
    sgd = {"name": "sgd", "lr": 0.1}
    trials = [planted.trial(0, 1, optimizer=sgd), planted.trial(0, 1, optimizer={**sgd, "sam": {"rho": 0.1}})]
    found = planted.frames(trials, {"loss_train": np.ones((2, 2))})
    assert list(optimizer_of_trials(found).values()) == ["sgd", "sgd with SAM"]


def test_examples_are_the_first_measured_trials_of_evenly_spaced_settings() -> None:
    rates = (0.01, 0.02, 0.03, 0.04, 0.05)
    trials = [planted.trial(seed, 1, optimizer={"name": "sgd", "lr": lr}) for lr in rates for seed in (0, 1)]
    found = planted.frames(trials, {"loss_train": np.ones((10, 2))})
    measured = found.trials.trial_id.drop(index=[0, 8, 9])
    expected = {"lr=0.01": trials[1].trial_id, "lr=0.03": trials[4].trial_id, "lr=0.04": trials[6].trial_id}
    assert example_trials(found, measured, 3) == expected


def test_evenly_spaced_values_contain_both_ends() -> None:
    assert evenly_spaced(range(151), 4) == [0, 50, 100, 150]
    assert evenly_spaced("ab", 4) == ["a", "b"]
    assert evenly_spaced([], 4) == []


def test_rows_need_all_columns() -> None:
    values = np.array([[1.0, np.nan, np.inf, 2.0]])
    found = planted.frames([planted.trial(0, 3)], {"hessian_trace": np.ones((1, 4)), "stability_ratio": values})
    assert finite_rows(found, "hessian_trace", "stability_ratio").epoch.tolist() == [0, 3]
    absent = finite_rows(found, "hessian_trace", "gradient_curvature")
    assert absent.empty and "gradient_curvature" in absent


def test_long_titles_are_cut() -> None:
    assert short("lr=0.1") == "lr=0.1"
    assert len(short("x" * 100)) == 44

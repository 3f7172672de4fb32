"""The stability ratio of every optimizer."""

import numpy as np
import pytest

from orchestrator.analysis.figures.quantities.stability_ratio import draw_ratio, ratio_data, summarise_ratio
from tests.analysis import planted

OPTIMIZERS = ({"name": "sgd", "lr": 0.1}, {"name": "sgd", "lr": 0.2}, {"name": "adam", "lr": 0.01})
TRIALS = [planted.trial(seed, 2, optimizer=optimizer) for optimizer in OPTIMIZERS for seed in range(3)]


def test_lines_are_quartiles_over_seeds() -> None:
    ratios = np.random.default_rng(0).uniform(0.2, 1.3, (9, 3))
    ratios[2, 2] = np.nan
    data = ratio_data(planted.frames(TRIALS, {"stability_ratio": ratios}))
    assert data[["optimizer", "setting"]].drop_duplicates().to_numpy().tolist() == [
        ["sgd", "sgd lr=0.1"],
        ["sgd", "sgd lr=0.2"],
        ["adam", "adam lr=0.01"],
    ]
    last = data[(data.setting == "adam lr=0.01") & (data.epoch == 2)].iloc[0]
    assert last.trials == 3
    assert list(last[["low", "median", "high"]]) == pytest.approx(list(np.quantile(ratios[6:, 2], [0.25, 0.5, 0.75])))
    two = data[(data.setting == "sgd lr=0.1") & (data.epoch == 2)].iloc[0]
    assert two.trials == 2 and two["median"] == pytest.approx(ratios[:2, 2].mean())


def test_untrained_adaptive_optimizers_do_not_set_the_axes() -> None:
    ratios = np.full((9, 3), 0.5)
    ratios[6:, 0] = 800.0
    data = ratio_data(planted.frames(TRIALS, {"stability_ratio": ratios}))
    drawn = draw_ratio(data)
    assert [axes.get_title() for axes in drawn.axes if axes.get_visible()] == ["sgd", "adam"]
    assert [axes.get_ylim() for axes in drawn.axes if axes.get_visible()] == [pytest.approx((0.0, 1.1))] * 2
    assert "sgd 0.50 to 0.50, adam 0.50." in summarise_ratio(data)


def test_a_sweep_without_the_quantity_has_no_figure() -> None:
    assert ratio_data(planted.frames(TRIALS, {"hessian_trace": np.ones((9, 3))})).empty
    assert ratio_data(planted.frames(TRIALS, {"stability_ratio": np.full((9, 3), np.nan)})).empty

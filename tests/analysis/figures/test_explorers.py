"""Figure 1."""

import numpy as np
import pytest

from orchestrator.analysis.figures.explorers import draw_explorers, explorers_data
from orchestrator.store.frames import Frames
from tests.analysis import planted


def test_running_mean_and_standard_deviation_cover_five_epochs(full: Frames) -> None:
    data = explorers_data(full)
    one = data[(data.trial_id == full.trials.trial_id[0]) & (data.quantity == "accuracy_validation")]
    values = 100 * full.epochs.accuracy_validation[:21]
    assert one.value.tolist() == pytest.approx(values.tolist())
    assert one["mean"].iloc[10] == pytest.approx(values[6:11].mean())
    assert one["std"].iloc[10] == pytest.approx(values[6:11].std(ddof=0))
    assert one["mean"].iloc[1] == pytest.approx(values[:2].mean())
    assert set(data.group) == {"optimizer.lr=0.01", "optimizer.lr=0.05"}
    assert data.groupby(["group", "quantity"]).trial_id.nunique().tolist() == [4] * 8


def test_only_the_largest_block_and_finite_values_are_shown() -> None:
    trials = [
        planted.trial(seed, 3, optimizer={"name": "sgd", "lr": lr}, batch_size=batch)
        for batch, seeds in ((32, 2), (64, 4))
        for lr in (0.01, 0.05)
        for seed in range(seeds)
    ]
    loss = np.ones((12, 4))
    loss[-1, 2] = np.inf
    data = explorers_data(planted.frames(trials, {"loss_train": loss}), "optimizer.lr")
    assert data.trial_id.nunique() == 8
    assert len(data) == 8 * 4 - 1


def test_a_regression_shows_r2_instead_of_accuracy(real_targets: Frames) -> None:
    data = explorers_data(real_targets)
    assert set(data.quantity) == {"loss_train", "r2_validation", "hessian_lambda_max", "hessian_trace"}
    assert draw_explorers(data).axes[1].get_ylabel() == "validation $R^2$"

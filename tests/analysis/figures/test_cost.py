"""The cost of measuring."""

import numpy as np
import pytest

from orchestrator.analysis.figures.cost import cost_data
from orchestrator.store.frames import Frames
from tests.analysis import planted


def test_costs_are_means_over_all_epochs_but_epoch_0(full: Frames) -> None:
    data = cost_data(full)
    trained = full.epochs[full.epochs.epoch > 0]
    assert data.group.tolist() == ["cnn, batch 64, cpu"]
    assert data.time_measure_seconds.item() == pytest.approx(trained.time_measure_seconds.mean())
    assert data.measure_over_train.item() == pytest.approx(
        trained.time_measure_seconds.mean() / trained.time_train_seconds.mean()
    )
    assert (data.trials.item(), data.epochs.item()) == (8, 160)


def test_full_batches_are_a_group_of_their_own() -> None:
    trials = [planted.trial(0, 1), planted.trial(0, 1, batch_size="full")]
    times = ("time_train_seconds", "time_evaluate_seconds", "time_measure_seconds")
    data = cost_data(planted.frames(trials, {name: np.ones((2, 2)) for name in times}))
    assert data.group.tolist() == ["cnn, batch 64, cpu", "cnn, batch full, cpu"]

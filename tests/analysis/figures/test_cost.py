"""The cost of measuring."""

import pytest

from orchestrator.analysis.figures.cost import cost_data
from orchestrator.store.frames import Frames


def test_costs_are_means_over_all_epochs_but_epoch_0(full: Frames) -> None:
    data = cost_data(full)
    trained = full.epochs[full.epochs.epoch > 0]
    assert data.group.tolist() == ["cnn, batch 64, cpu"]
    assert data.time_measure_seconds.item() == pytest.approx(trained.time_measure_seconds.mean())
    assert data.measure_over_train.item() == pytest.approx(
        trained.time_measure_seconds.mean() / trained.time_train_seconds.mean()
    )
    assert (data.trials.item(), data.epochs.item()) == (8, 160)

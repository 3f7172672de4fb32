"""The stability threshold of SGD."""

import numpy as np
import pytest

from orchestrator.analysis.figures.edge_of_stability import edge_data
from tests.analysis import planted


def test_threshold_is_2_over_lr_and_larger_with_momentum() -> None:
    trials = [
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1}),
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}),
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}),
        planted.trial(0, 2, optimizer={"name": "adam", "lr": 0.1}),
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1, "sam": {"rho": 0.05}}),
        planted.trial(0, 2, optimizer={"name": "mine:Lion", "lr": "auto", "momentum": "auto"}),
    ]
    data = edge_data(planted.frames(trials, {"hessian_lambda_max": np.full((6, 3), 10.0)}))
    assert data.groupby("group", sort=False).threshold.first().to_dict() == pytest.approx(
        {"lr=0.1": 20.0, "lr=0.1, momentum=0.9": 38.0, "lr=0.1, momentum=0.9, nesterov": 38.0 / 2.8}
    )
    assert data.ratio.iloc[0] == pytest.approx(0.5)


def test_trials_whose_threshold_changes_are_left_out() -> None:
    sgd = {"name": "sgd", "lr": 0.1}
    trials = [
        planted.trial(0, 2, optimizer={**sgd, "gradient_clip": 1.0}),
        planted.trial(0, 2, optimizer=sgd, schedule={"name": "cosine"}),
        planted.trial(0, 2, optimizer=sgd),
    ]
    data = edge_data(planted.frames(trials, {"hessian_lambda_max": np.full((3, 3), 10.0)}))
    assert set(data.trial_id) == {trials[2].trial_id}


def test_weight_decay_is_part_of_the_hessian() -> None:
    trials = [planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1, "weight_decay": 2.0})]
    data = edge_data(planted.frames(trials, {"hessian_lambda_max": np.full((1, 3), 10.0)}))
    assert data.ratio.tolist() == pytest.approx([0.6] * 3)


def test_trials_without_a_learning_rate_have_no_threshold() -> None:
    trials = [planted.trial(0, 2, optimizer={"name": "torch.optim:NAdam"})]
    assert edge_data(planted.frames(trials, {"hessian_lambda_max": np.full((1, 3), 10.0)})).empty

"""The stability threshold of SGD."""

import numpy as np
import pytest

from orchestrator.analysis.figures.edge_of_stability import edge_data
from tests.analysis import planted


def test_threshold_is_2_over_lr_and_larger_with_momentum() -> None:
    trials = [
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1}),
        planted.trial(0, 2, optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}),
        planted.trial(0, 2, optimizer={"name": "adam", "lr": 0.1}),
    ]
    data = edge_data(planted.frames(trials, {"hessian_lambda_max": np.full((3, 3), 10.0)}))
    assert data.groupby("group", sort=False).threshold.first().to_dict() == pytest.approx(
        {"lr=0.1": 20.0, "lr=0.1, momentum=0.9": 38.0}
    )
    assert data.ratio.iloc[0] == pytest.approx(0.5)

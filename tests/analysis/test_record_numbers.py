"""Numbers of records, from their epochs and steps."""

from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.record_numbers import epochs_per_record, record_numbers
from tests.analysis import planted


@pytest.mark.parametrize(
    ("moments", "distance"),
    [
        ({"epochs": 3}, 1.0),
        ({"epochs": 15, "record_every": "5 epochs"}, 5.0),
        ({"epochs": 12, "record_every": "5 epochs"}, 4.0),
        ({"steps": 6, "record_every": "2 steps"}, 0.4),
        ({"steps": 5, "record_every": "2 steps"}, 1 / 3),
    ],
)
def test_records_are_numbered_at_every_distance(moments: dict[str, Any], distance: float) -> None:
    trials = [planted.trial(seed, **moments) for seed in range(2)]
    frames = planted.frames(trials, {"loss_train": np.zeros((2, 4))}, steps_per_epoch=5)
    assert record_numbers(frames).tolist() == [0, 1, 2, 3] * 2
    assert epochs_per_record(frames).to_dict() == pytest.approx({trial.trial_id: distance for trial in trials})

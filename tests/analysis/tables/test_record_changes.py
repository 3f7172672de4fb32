"""Changes between consecutive records."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.quantities import LAMBDA_MAX
from orchestrator.analysis.tables.record_changes import record_changes
from orchestrator.store.frames import Frames
from tests.analysis import planted


def test_gaps_and_non_finite_values_are_left_out_and_counted(frames: Frames) -> None:
    epochs = frames.epochs
    whole = record_changes(frames, [LAMBDA_MAX])
    assert (whole.gaps, whole.not_finite) == (0, 0)
    first = epochs.trial_id == epochs.trial_id[0]
    holed = epochs[~(first & (epochs.epoch == 10))].copy()
    holed.loc[first & (epochs.epoch == 20), LAMBDA_MAX] = np.inf
    found = record_changes(replace(frames, epochs=holed), [LAMBDA_MAX])
    assert (found.gaps, found.not_finite) == (1, 2)
    assert len(found.rows) == len(whole.rows) - 4


def test_changes_do_not_cross_trials_and_accuracies_are_points() -> None:
    accuracies = np.array([[0.0, 0.1, 0.2], [0.0, 0.9, 0.85]])
    frames = planted.frames([planted.trial(seed, 2) for seed in range(2)], {"accuracy_test": accuracies})
    found = record_changes(frames, ["accuracy_test"]).rows.set_index("trial_id").accuracy_test
    assert found.to_dict() == pytest.approx(dict(zip(frames.sweep.by_id, (10, -5), strict=True)))


@pytest.mark.parametrize(
    ("moments", "epochs"),
    [
        ({"epochs": 15, "record_every": "5 epochs"}, [10, 15]),
        ({"epochs": 12, "record_every": "5 epochs"}, [10, 12]),
        ({"steps": 6, "record_every": "2 steps"}, [0.8, 1.2]),
        ({"epochs": 3}, [2, 3]),
    ],
)
def test_consecutive_records_are_paired_at_every_distance(moments: dict[str, Any], epochs: list[float]) -> None:
    config = planted.trial(0, **moments)
    frames = planted.frames([config], {LAMBDA_MAX: np.array([[7.0, 1.0, 2.0, 4.0]])}, steps_per_epoch=5)
    found = record_changes(frames, [LAMBDA_MAX])
    assert found.rows.epoch.tolist() == pytest.approx(epochs)
    assert found.rows[LAMBDA_MAX].tolist() == [1.0, 2.0]
    assert (found.gaps, found.not_finite, found.trials) == (0, 0, 1)
    assert record_changes(frames, [LAMBDA_MAX], first=0).rows[LAMBDA_MAX].tolist() == [-6.0, 1.0, 2.0]
    holed = replace(frames, epochs=frames.epochs.drop(index=2))
    assert record_changes(holed, [LAMBDA_MAX]).gaps == 1


@pytest.mark.parametrize(
    ("settings", "columns", "epochs", "changes"),
    [
        ({"measurement": {"every": 2}}, [LAMBDA_MAX], [4, 6], [4.0, 5.0]),
        ({"measurement": {"estimators": [{"name": "lanczos", "every": 2}]}}, [LAMBDA_MAX], [4, 6], [4.0, 5.0]),
        ({"measurement": {"every": 2}, "evaluate_every": 3}, [LAMBDA_MAX, "accuracy_test"], [], []),
        ({"measurement": {"every": 2}, "evaluate_every": 3}, ["accuracy_test"], [6], [30.0]),
    ],
)
def test_records_at_which_a_quantity_is_not_due_are_skipped(
    settings: dict[str, Any], columns: list[str], epochs: list[int], changes: list[float]
) -> None:
    config = planted.trial(0, epochs=6, **settings)
    missing = np.nan
    values = {
        LAMBDA_MAX: np.array([[7.0, missing, 1.0, missing, 5.0, missing, 10.0]]),
        "accuracy_test": np.array([[0.1, missing, missing, 0.3, missing, missing, 0.6]]),
    }
    frames = planted.frames([config], values)
    found = record_changes(frames, columns)
    assert found.rows.epoch.tolist() == epochs
    assert found.rows[columns[0]].tolist() == pytest.approx(changes)
    assert (found.gaps, found.not_finite) == (0, 0)
    holed = replace(frames, epochs=frames.epochs[frames.epochs.epoch != 4])
    assert record_changes(holed, [LAMBDA_MAX]).gaps == 1

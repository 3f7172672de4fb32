"""Changes between consecutive epochs."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.quantities import LAMBDA_MAX
from orchestrator.analysis.tables.epoch_changes import epoch_changes


def test_gaps_and_non_finite_values_are_left_out_and_counted(epochs: pd.DataFrame) -> None:
    whole = epoch_changes(epochs, [LAMBDA_MAX])
    assert (whole.gaps, whole.not_finite) == (0, 0)
    first = epochs.trial_id == epochs.trial_id[0]
    holed = epochs[~(first & (epochs.epoch == 10))].copy()
    holed.loc[first & (epochs.epoch == 20), LAMBDA_MAX] = np.inf
    found = epoch_changes(holed, [LAMBDA_MAX])
    assert (found.gaps, found.not_finite) == (1, 2)
    assert len(found.rows) == len(whole.rows) - 4


def test_changes_do_not_cross_trials_and_accuracies_are_points() -> None:
    frame = pd.DataFrame(
        {"trial_id": ["a", "a", "b", "b"], "epoch": [1, 2, 1, 2], "accuracy_test": [0.1, 0.2, 0.9, 0.85]}
    )
    assert epoch_changes(frame, ["accuracy_test"]).rows.accuracy_test.tolist() == pytest.approx([10, -5])

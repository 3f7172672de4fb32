"""Figure 6."""

import numpy as np

from orchestrator.analysis.figures.stopping import stopping_data
from tests.analysis import planted


def test_shows_twelve_trials_evenly_spaced_over_the_sweep_with_their_drops() -> None:
    found = planted.stopping(np.random.default_rng(0), planted=True, seeds=20)
    data = stopping_data(found)
    assert data.trial_id.nunique() == 12
    assert {data.trial_id.iloc[0], data.trial_id.iloc[-1]} == {
        found.trials.trial_id.iloc[0],
        found.trials.trial_id.iloc[-1],
    }
    for _, trial in data.groupby("trial_id"):
        falls = trial.trace.diff().idxmin()
        assert abs(trial.epoch[falls] - trial["drop"].iloc[0]) <= 1

"""Grouping trials by a key, and the curves of completed trials."""

import numpy as np

from orchestrator.analysis.groups import completed_trials, curves, group_by, varied_keys
from tests.analysis import planted


def test_grouped_trials_differ_only_in_the_key_and_the_seed() -> None:
    trials = [
        planted.trial(seed, 1, optimizer={"name": "sgd", "lr": lr}, batch_size=batch)
        for lr, batch in ((0.01, 32), (0.05, 32), (0.05, 64))
        for seed in range(2)
    ]
    frames = planted.frames(trials, {"hessian_lambda_max": np.ones((6, 2))})
    assert varied_keys(frames) == ["optimizer.lr", "batch_size"]
    rates = group_by(frames, "optimizer.lr").members
    assert rates.value.tolist() == [0.01, 0.01, 0.05, 0.05]
    assert rates.block.nunique() == 1


def test_curves_skip_failed_trials_and_replace_infinity_by_nan() -> None:
    frames = planted.frames(
        [planted.trial(seed, 2) for seed in range(2)], {"hessian_lambda_max": np.array([[1, 2, np.inf], [4, 5, 6]])}
    )
    frames.trials.loc[1, "state"] = "failed"
    table = curves(frames, "hessian_lambda_max", completed_trials(frames))
    assert table.columns.tolist() == [1, 2]
    assert table.iloc[0, 0] == 2
    assert np.isnan(table.iloc[0, 1])
    assert len(table) == 1

"""Conjecture 1, and the choice of the grouping key."""

import numpy as np
import pytest

from orchestrator.analysis.groups import GroupKeyError, group_by
from orchestrator.analysis.verdicts.explorers import group_key, judge_explorers
from orchestrator.analysis.verdicts.verdict import Conclusion
from tests.analysis import planted


def test_two_seeds_per_group_are_not_enough_data() -> None:
    verdict = judge_explorers(planted.explorers(np.random.default_rng(0), effect=9.0, seeds=2))
    assert verdict.outcome is Conclusion.NOT_ENOUGH_DATA
    assert "no permutation reaches a p below 0.333" in verdict.sentence


def test_late_difference_is_reported_but_not_supported() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=0.0)
    high = found.trials.trial_id[found.trials["optimizer.lr"] == 0.05]
    late = found.epochs.trial_id.isin(high) & (found.epochs.epoch >= 15)
    found.epochs.loc[late, "hessian_lambda_max"] *= 1e3
    verdict = judge_explorers(found)
    assert verdict.outcome is Conclusion.NOT_SUPPORTED
    assert "from epoch 15 on" in verdict.sentence


def test_a_late_difference_within_the_first_epoch_is_not_supported() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=0.0)
    high = found.trials.trial_id[found.trials["optimizer.lr"] == 0.05]
    found.epochs.loc[found.epochs.trial_id.isin(high) & (found.epochs.epoch >= 15), "hessian_lambda_max"] *= 1e3
    within = planted.respaced(found, steps_per_epoch=50, steps=40, record_every="2 steps")
    verdict = judge_explorers(within)
    assert verdict.outcome is Conclusion.NOT_SUPPORTED
    assert "from epoch 0.6 on" in verdict.sentence
    assert "early means up to epoch 0.16" in verdict.sentence


def test_unfinished_trials_are_left_out_and_counted() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=1.0, seeds=5)
    found.trials.loc[0, "state"] = "interrupted"
    verdict = judge_explorers(found)
    assert verdict.outcome is Conclusion.SUPPORTED
    assert "9 trials" in verdict.sentence
    assert verdict.left_out == "1 of 10 trials could not be used for groups by optimizer.lr."


def test_key_is_the_requested_one_or_the_first_that_can_reach_significance() -> None:
    trials = [
        planted.trial(seed, 5, optimizer={"name": "sgd", "lr": lr}, batch_size=batch)
        for lr, batch, seeds in ((0.01, 32, 1), (0.05, 32, 4), (0.05, 64, 4))
        for seed in range(seeds)
    ]
    found = planted.frames(trials, {"hessian_lambda_max": np.ones((9, 6))})
    assert group_key(found) == "batch_size", "one trial with 0.01 and four others cannot reach significance"
    assert group_key(found, "optimizer.lr") == "optimizer.lr"
    assert group_by(found, "batch_size").members.value.tolist() == [32] * 4 + [64] * 4


def test_unknown_key_error_lists_the_varied_keys() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=0.0)
    with pytest.raises(GroupKeyError, match=r"--by 'lr': trials cannot be grouped by it; keys that vary: optimizer.lr"):
        judge_explorers(found, "lr")

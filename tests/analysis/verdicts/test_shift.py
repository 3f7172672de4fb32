"""Conjecture 2."""

from dataclasses import replace

import numpy as np

from orchestrator.analysis.verdicts.shift import judge_shift
from orchestrator.analysis.verdicts.verdict import Conclusion
from tests.analysis import planted


def test_effect_on_test_accuracy_is_not_supported() -> None:
    verdict = judge_shift(planted.shift(np.random.default_rng(0), effect=-0.05, test=-0.05))
    assert verdict.outcome is Conclusion.NOT_SUPPORTED
    assert verdict.sentence.endswith("an effect on test accuracy is not excluded.")


def test_wide_interval_outside_the_bounds_is_not_supported() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.5, seeds=3, epochs=30, test=-0.5)
    found.epochs["accuracy_test"] += np.random.default_rng(1).normal(0, 0.01, len(found.epochs))
    verdict = judge_shift(found)
    assert verdict.outcome is Conclusion.NOT_SUPPORTED
    assert verdict.sentence.endswith("an effect on test accuracy is not excluded.")


def test_interval_wider_than_the_bounds_is_not_enough_data() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.5, seeds=3, epochs=30)
    found.epochs["accuracy_test"] += np.random.default_rng(1).normal(0, 0.05, len(found.epochs))
    verdict = judge_shift(found)
    assert verdict.outcome is Conclusion.NOT_ENOUGH_DATA
    assert "the interval is too wide to conclude that the effect is zero" in verdict.sentence


def test_few_trials_or_changes_are_not_enough_data() -> None:
    verdict = judge_shift(planted.shift(np.random.default_rng(0), effect=-0.05, seeds=2))
    assert verdict.outcome is Conclusion.NOT_ENOUGH_DATA
    assert verdict.sentence == "There are 156 changes from 4 trials; at least 60 from 6 are required."


def test_missing_values_are_counted() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.05)
    found.epochs.loc[20, "accuracy_ood"] = np.nan
    assert judge_shift(found).left_out == "Left out: 2 changes with a missing or non-finite value."


def test_only_measured_records_are_paired() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.05)
    trials = [
        planted.trial(each.seed, 120, optimizer=each.optimizer.model_dump(), measurement={"every": 3})
        for each in found.sweep.trials
    ]
    names = ("hessian_lambda_max", "accuracy_validation", "accuracy_test", "accuracy_ood")
    columns = {name: np.full((len(trials), 121), np.nan) for name in names}
    for name, values in columns.items():
        values[:, ::3] = found.epochs[name].to_numpy().reshape(len(trials), -1)
    for name in names[1:]:  # accuracies are known at every record
        columns[name] = np.nan_to_num(columns[name], nan=0.5)
    assert judge_shift(planted.frames(trials, columns)) == judge_shift(found)


def test_records_five_epochs_apart_are_paired() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.05)
    sparse = planted.respaced(found, epochs=200, record_every="5 epochs")
    assert judge_shift(sparse) == judge_shift(found)
    assert judge_shift(sparse).left_out == ""
    holed = replace(sparse, epochs=sparse.epochs.drop(index=20))
    assert judge_shift(holed).left_out == "Left out: 1 gaps between records."

"""Missing values of a sweep."""

from dataclasses import replace

import numpy as np

from orchestrator.analysis.sweep_summary import summarise
from orchestrator.store.frames import Frames


def test_missing_values_are_counted(full: Frames) -> None:
    epochs = full.epochs.copy()
    epochs["hessian_lambda_min"] = np.nan
    epochs.loc[[3, 4], "accuracy_ood"] = np.nan
    found = summarise(replace(full, epochs=epochs.drop(index=7))).missing
    assert any(line.startswith("Never measured: ") and "hessian/lambda_min" in line for line in found)
    assert "accuracy/ood is missing at 2 of 167 epochs." in found
    assert f"Trial {full.trials.trial_id[0]} lacks 1 intermediate epochs." in found


def test_a_trial_with_accuracies_does_not_lack_r2(full: Frames) -> None:
    found = summarise(full)
    assert not [line for line in found.missing if "r2/" in line]
    assert found.has_accuracies


def test_a_trial_with_r2_does_not_lack_accuracies(real_targets: Frames) -> None:
    epochs = real_targets.epochs.copy()
    epochs.loc[3, "r2_test"] = np.nan
    found = summarise(replace(real_targets, epochs=epochs))
    assert not [line for line in found.missing if "accuracy/" in line]
    assert "r2/test is missing at 1 of 168 epochs." in found.missing
    assert not found.has_accuracies


def test_values_that_were_not_requested_are_not_missing(full: Frames) -> None:
    trials, epochs = full.trials.copy(), full.epochs.copy()
    trials["measurement.estimators"], trials["measurement.algorithm1_every"] = "lanczos, algorithm1", 5
    epochs["hessian_gauss_newton_trace"] = np.nan
    epochs["algorithm1_trace"] = np.where(epochs.epoch % 5 == 0, 1.0, np.nan)
    keys = ("algorithm1/trace ", "gauss_newton_trace")
    asked = replace(full, trials=trials, epochs=epochs)
    assert not [line for line in summarise(asked).missing if any(key in line for key in keys)]
    due = int((epochs.epoch % 5 == 0).sum())
    epochs.loc[epochs.epoch == 5, "algorithm1_trace"] = np.nan
    absent = int((epochs.epoch == 5).sum())
    assert f"algorithm1/trace is missing at {absent} of {due} epochs." in summarise(asked).missing
    trials["measurement.estimators"] = "lanczos"
    assert not [line for line in summarise(asked).missing if "algorithm1" in line]

"""Facts about a sweep."""

from dataclasses import replace

from orchestrator.analysis.sweep_summary import summarise
from orchestrator.store.frames import Frames


def test_a_sweep_has_accuracies_or_r2(full: Frames, real_targets: Frames) -> None:
    assert summarise(full).has_accuracies
    assert not summarise(real_targets).has_accuracies


def test_incomplete_trials_are_listed_and_missing_values_counted(full: Frames) -> None:
    trials = full.trials.copy()
    trials.loc[1, "state"] = "diverged"
    found = summarise(replace(full, trials=trials, epochs=full.epochs.drop(index=7)))
    assert found.incomplete.trial.tolist() == [full.trials.trial_id[1]]
    assert found.incomplete.epoch.tolist() == ["20/20"]
    assert f"Trial {full.trials.trial_id[0]} lacks 1 intermediate epochs." in found.missing
    assert dict(found.facts)["trials"] == "8: 7 completed, 1 diverged"

"""The verdict on conjecture 3, that a sudden drop of the trace indicates the end of training."""

import numpy as np

from orchestrator.analysis.verdicts.stopping import drops_and_peaks, judge_stopping
from orchestrator.analysis.verdicts.verdict import Conclusion
from tests.analysis import planted


def test_trials_with_few_epochs_are_not_enough_data() -> None:
    short = planted.full(np.random.default_rng(0), planted.two_rates(4, 8))
    assert judge_stopping(short).outcome is Conclusion.NOT_ENOUGH_DATA


def test_traces_without_a_sudden_drop_do_not_support_the_conjecture() -> None:
    smooth = planted.stopping(np.random.default_rng(0), planted=True)
    smooth.epochs["hessian_trace"] = 200 * np.exp(-0.02 * smooth.epochs.epoch)
    verdict = judge_stopping(smooth)
    assert verdict.outcome is Conclusion.NOT_SUPPORTED
    assert "Only 0 of 12 trials have a drop" in verdict.sentence


def test_equal_peaks_of_all_trials_are_not_enough_data() -> None:
    found = planted.stopping(np.random.default_rng(0), planted=True)
    found.epochs["accuracy_validation"] = np.minimum(found.epochs.epoch / 20, 1.0)
    verdict = judge_stopping(found)
    assert verdict.outcome is Conclusion.NOT_ENOUGH_DATA
    assert "no pairing reaches a p below 1" in verdict.sentence


def test_distances_are_in_epochs_if_records_are_five_epochs_apart() -> None:
    found = planted.stopping(np.random.default_rng(0), planted=True)
    sparse = planted.respaced(found, epochs=250, record_every="5 epochs")
    ours, theirs = drops_and_peaks(sparse), drops_and_peaks(found)
    assert ours.epochs.tolist() == [250.0] * 12
    assert ours["drop"].tolist() == (5 * theirs["drop"]).tolist()
    assert judge_stopping(sparse).outcome is judge_stopping(found).outcome is Conclusion.SUPPORTED

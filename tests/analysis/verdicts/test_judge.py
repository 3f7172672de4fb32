"""The three verdicts: how often they err, and when they say that they cannot tell."""

from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.analysis.groups import GroupKeyError, grouped
from orchestrator.analysis.verdicts.judge import Outcome, Verdict, explorers, group_key, judge, shift, stopping
from orchestrator.store.frames import Frames
from tests.analysis import planted

NULLS: list[tuple[Callable[[Frames], Verdict], Callable[[np.random.Generator], Frames]]] = [
    (explorers, lambda generator: planted.explorers(generator, effect=0.0)),
    (shift, lambda generator: planted.shift(generator, effect=0.0)),
    (stopping, lambda generator: planted.stopping(generator, planted=False)),
]
EFFECTS: list[tuple[Callable[[Frames], Verdict], Callable[[np.random.Generator], Frames]]] = [
    (explorers, lambda generator: planted.explorers(generator, effect=1.0)),
    (shift, lambda generator: planted.shift(generator, effect=-0.05)),
    (stopping, lambda generator: planted.stopping(generator, planted=True)),
]
IDS = ["conjecture 1", "conjecture 2", "conjecture 3"]


def _supported(judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames], draws: int) -> int:
    return sum(judged(draw(np.random.default_rng(seed))).outcome is Outcome.SUPPORTED for seed in range(draws))


@pytest.mark.slow
@pytest.mark.parametrize(("judged", "draw"), NULLS, ids=IDS)
def test_a_thousand_null_sweeps_are_supported_in_6_6_percent_at_most(
    judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames]
) -> None:
    assert _supported(judged, draw, 1000) <= 66


@pytest.mark.parametrize(("judged", "draw"), NULLS, ids=IDS)
def test_null_sweeps_are_seldom_supported(
    judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames]
) -> None:
    assert _supported(judged, draw, 30) <= 3


@pytest.mark.parametrize(("judged", "draw"), EFFECTS, ids=IDS)
def test_planted_effects_are_supported_in_nine_of_ten(
    judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames]
) -> None:
    assert _supported(judged, draw, 30) >= 27


def test_two_seeds_against_two_are_not_enough_however_large_the_difference() -> None:
    verdict = explorers(planted.explorers(np.random.default_rng(0), effect=9.0, seeds=2))
    assert verdict.outcome is Outcome.NOT_ENOUGH_DATA
    assert "no arrangement reaches a p below 0.333" in verdict.sentence


def test_a_difference_that_comes_late_is_named_but_not_supported() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=0.0)
    high = found.trials.trial_id[found.trials["optimizer.lr"] == 0.05]
    late = found.epochs.trial_id.isin(high) & (found.epochs.epoch >= 15)
    found.epochs.loc[late, "hessian_lambda_max"] *= 1e3
    verdict = explorers(found)
    assert verdict.outcome is Outcome.NOT_SUPPORTED
    assert "from epoch 15 on" in verdict.sentence


def test_unfinished_trials_are_left_out_and_counted() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=1.0, seeds=5)
    found.trials.loc[0, "state"] = "interrupted"
    verdict = explorers(found)
    assert verdict.outcome is Outcome.SUPPORTED
    assert "9 trials" in verdict.sentence
    assert verdict.left_out == "1 of 10 trials could not be used for groups by optimizer.lr."


def test_the_key_is_the_one_asked_for_or_the_first_that_can_be_told_apart() -> None:
    trials = [
        planted.trial(seed, 5, optimizer={"name": "sgd", "lr": lr}, batch_size=batch)
        for lr, batch, seeds in ((0.01, 32, 1), (0.05, 32, 4), (0.05, 64, 4))
        for seed in range(seeds)
    ]
    found = planted.frames(trials, {"hessian_lambda_max": np.ones((9, 6))})
    assert group_key(found) == "batch_size", "one trial at 0.01 cannot be told from four"
    assert group_key(found, "optimizer.lr") == "optimizer.lr"
    assert grouped(found, "batch_size").members.value.tolist() == [32] * 4 + [64] * 4


def test_an_unknown_key_names_those_there_are() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=0.0)
    with pytest.raises(GroupKeyError, match=r"--by 'lr': no trial has such a key; .* in this sweep: optimizer.lr"):
        explorers(found, "lr")


def test_an_effect_on_test_accuracy_too_is_not_supported() -> None:
    verdict = shift(planted.shift(np.random.default_rng(0), effect=-0.05, test=-0.05))
    assert verdict.outcome is Outcome.NOT_SUPPORTED
    assert verdict.sentence.endswith("test accuracy may follow it too.")


def test_an_interval_wholly_beyond_its_bounds_is_no_lack_of_data_however_wide() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.5, seeds=3, epochs=30, test=-0.5)
    found.epochs["accuracy_test"] += np.random.default_rng(1).normal(0, 0.01, len(found.epochs))
    verdict = shift(found)
    assert verdict.outcome is Outcome.NOT_SUPPORTED
    assert verdict.sentence.endswith("test accuracy may follow it too.")


def test_an_interval_wider_than_its_bounds_is_not_enough_data() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.5, seeds=3, epochs=30)
    found.epochs["accuracy_test"] += np.random.default_rng(1).normal(0, 0.05, len(found.epochs))
    verdict = shift(found)
    assert verdict.outcome is Outcome.NOT_ENOUGH_DATA
    assert "the interval is too wide to call it nothing" in verdict.sentence


def test_few_trials_or_changes_are_not_enough_data() -> None:
    verdict = shift(planted.shift(np.random.default_rng(0), effect=-0.05, seeds=2))
    assert verdict.outcome is Outcome.NOT_ENOUGH_DATA
    assert verdict.sentence == "156 changes of 4 trials; at least 60 of 6 are needed."


def test_holes_are_counted() -> None:
    found = planted.shift(np.random.default_rng(0), effect=-0.05)
    found.epochs.loc[20, "accuracy_ood"] = np.nan
    assert shift(found).left_out == "Left out: 2 changes with a value missing or not finite."


def test_short_trials_are_not_enough_data_and_traces_without_a_drop_not_support() -> None:
    short = planted.full(np.random.default_rng(0), planted.two_rates(4, 8))
    assert stopping(short).outcome is Outcome.NOT_ENOUGH_DATA
    smooth = planted.stopping(np.random.default_rng(0), planted=True)
    smooth.epochs["hessian_trace"] = 200 * np.exp(-0.02 * smooth.epochs.epoch)
    verdict = stopping(smooth)
    assert verdict.outcome is Outcome.NOT_SUPPORTED
    assert "Only 0 of 12 trials have a drop" in verdict.sentence


def test_peaks_all_in_one_epoch_are_not_enough_data() -> None:
    found = planted.stopping(np.random.default_rng(0), planted=True)
    found.epochs["accuracy_validation"] = np.minimum(found.epochs.epoch / 20, 1.0)
    verdict = stopping(found)
    assert verdict.outcome is Outcome.NOT_ENOUGH_DATA
    assert "no pairing reaches less than 1" in verdict.sentence


def test_a_sweep_without_an_epoch_or_a_column_has_three_verdicts() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=1.0)
    nothing = Frames(found.sweep, found.provenance, found.epochs.iloc[:0], found.trials, found.samples)
    assert [verdict.outcome for verdict in judge(nothing)] == [Outcome.NOT_ENOUGH_DATA] * 3
    assert [verdict.outcome for verdict in judge(found)][1:] == [Outcome.NOT_ENOUGH_DATA] * 2


def test_one_trial_has_three_verdicts() -> None:
    found = planted.full(np.random.default_rng(0), [planted.trial(0, 30)])
    assert [verdict.outcome for verdict in judge(found)] == [Outcome.NOT_ENOUGH_DATA] * 3

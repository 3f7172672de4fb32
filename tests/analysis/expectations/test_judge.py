"""Judgements of planted sweeps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orchestrator.analysis.expectations import Outcome, judge_expectations
from orchestrator.analysis.expectations.describe import lines
from orchestrator.analysis.expectations.judgement import Judgement, judgement_table, summary
from orchestrator.store.frames import Frames
from orchestrator.study.expectations.expectation import Expectation
from tests.analysis.planted import frames, shift, two_rates

EPOCHS = 9


def planted(levels: list[list[float]]) -> Frames:
    """Constant curves of lambda_max: for each learning rate, 0.01 and 0.05, the levels of its seeds."""
    trials = two_rates(len(levels[0]), EPOCHS)
    values = np.repeat(np.array(levels).reshape(-1, 1), EPOCHS + 1, axis=1)
    return frames(trials, {"hessian_lambda_max": values})


def judged(found: Frames, **content: Any) -> Judgement:
    expectation = Expectation.model_validate({"quantity": "hessian/lambda_max", "over": "last third", **content})
    (judgement,) = judge_expectations(found, [expectation])
    return judgement


def test_every_group_of_seeds_is_judged_by_its_own_value() -> None:
    found = judged(planted([[199.0, 201.0, 203.0], [39.0, 40.0, 41.0]]), value="2 / optimizer.lr", within="10%")
    assert found.outcome is Outcome.REPRODUCED
    assert [group.label for group in found.groups] == ["lr=0.01", "lr=0.05"]
    assert [(group.expected, group.low, group.high) for group in found.groups] == [
        pytest.approx((200, 180, 220)),
        pytest.approx((40, 36, 44)),
    ]
    assert found.groups[0].deviation == pytest.approx(0.005)
    (first, _) = lines([found])
    assert first.startswith("reproduced: hessian/lambda_max, median over last third, lr=0.01: 201 (197.6 to 204.4; 3")


def test_trials_with_different_settings_can_form_one_group() -> None:
    found = judged(planted([[199.0, 201.0], [39.0, 41.0]]), at_most=400, together=True)
    (group,) = found.groups
    assert group.measured is not None
    assert (group.label, group.measured.value, group.measured.trials) == ("", pytest.approx(120.0), 4)


def test_one_group_outside_its_range_refutes_the_expectation() -> None:
    found = judged(planted([[199.0, 201.0, 203.0], [59.0, 60.0, 61.0]]), value="2 / optimizer.lr", within="10%")
    assert [group.outcome for group in found.groups] == [Outcome.REPRODUCED, Outcome.NOT_REPRODUCED]
    assert found.outcome is Outcome.NOT_REPRODUCED


def test_a_wide_spread_decides_nothing_and_says_what_would() -> None:
    found = judged(planted([[170.0, 200.0, 220.0]] * 2), where={"optimizer.lr": 0.01}, value=200, within="10%")
    assert found.outcome is Outcome.NOT_ENOUGH_DATA
    assert found.groups[0].sentence == "About 9 trials would decide it, with the same spread."


def test_too_few_seeds_are_not_enough_unless_one_suffices() -> None:
    single = planted([[200.0], [40.0]])
    expected: dict[str, Any] = {"value": "2 / optimizer.lr", "within": "10%"}
    found = judged(single, **expected)
    assert found.outcome is Outcome.NOT_ENOUGH_DATA
    assert found.groups[0].sentence == "1 trial with a value, at least 2 required."
    assert judged(single, **expected, seeds=1).outcome is Outcome.REPRODUCED


def test_a_coarse_measurement_decides_nothing() -> None:
    trials = two_rates(2, EPOCHS)
    values = np.full((4, EPOCHS + 1), 200.0)
    coarse = frames(trials, {"hessian_lambda_max": values, "hessian_lambda_max_residual": values / 4})
    found = judged(coarse, value=200, within="10%")
    assert found.outcome is Outcome.NOT_ENOUGH_DATA
    assert "measure more accurately" in found.groups[0].sentence


def test_unfinished_trials_are_left_out_and_diverged_ones_refute() -> None:
    found = planted([[200.0, 201.0, 202.0]] * 2)
    expected: dict[str, Any] = {"where": {"optimizer.lr": 0.01}, "value": 200, "within": "10%"}
    unfinished = replace(found, trials=found.trials.assign(state=["running"] + ["completed"] * 5))
    assert judged(unfinished, **expected).groups[0].sentence == "Not used: 1 trial unfinished or failed."
    diverged = replace(found, trials=found.trials.assign(state=["diverged"] + ["completed"] * 5))
    refuted = judged(diverged, **expected)
    assert (refuted.outcome, refuted.groups[0].sentence) == (Outcome.NOT_REPRODUCED, "Of 3 trials, 1 diverged.")


def test_a_threshold_that_is_never_crossed_refutes() -> None:
    found = judged(
        planted([[1.0, 2.0]] * 2),
        over="first crossing of 3",
        statistic="epoch",
        at_most=5,
        where={"optimizer.lr": 0.01},
    )
    assert found.outcome is Outcome.NOT_REPRODUCED
    assert found.groups[0].sentence == "Of 2 trials, 2 never crossed the threshold."


def test_a_coefficient_of_table_1_is_judged_by_its_clustered_error() -> None:
    planted_effect = shift(np.random.default_rng(1), effect=-0.2, seeds=20)
    (found,) = judge_expectations(
        planted_effect,
        [Expectation.model_validate({"quantity": "table1/ood_with_validation", "value": -0.2, "within": 0.1})],
    )
    assert found.outcome is Outcome.REPRODUCED
    measured = found.groups[0].measured
    assert measured is not None
    assert measured.low < -0.2 < measured.high
    assert measured.trials == 40


def test_the_table_and_the_summary_contain_every_outcome() -> None:
    found = planted([[199.0, 201.0, 203.0], [59.0, 60.0, 61.0]])
    judgements = [judged(found, value="2 / optimizer.lr", within="10%"), judged(found, at_least=1)]
    table = judgement_table(judgements)
    assert list(table.outcome) == ["reproduced", "not reproduced", "reproduced", "reproduced"]
    assert list(table.measured) == pytest.approx([201, 60, 201, 60])
    assert summary(judgements) == "1 reproduced, 1 not reproduced"


def test_a_sweep_without_expectations_has_no_judgements() -> None:
    assert judge_expectations(planted([[1.0], [2.0]])) == ()
    assert judgement_table([]).empty


def test_a_lucky_draw_of_noise_is_rare() -> None:
    """Levels scatter around the end of the accepted range; at most 5% of sweeps may be called reproduced."""
    generator = np.random.default_rng(0)
    draws = 300
    outcomes = [
        judged(
            planted(generator.normal(220, 15, (2, 3)).tolist()), value=200, within="10%", where={"optimizer.lr": 0.01}
        )
        for _ in range(draws)
    ]
    lucky = sum(found.outcome is Outcome.REPRODUCED for found in outcomes) / draws
    assert lucky <= 0.05 + 3 * (0.05 * 0.95 / draws) ** 0.5

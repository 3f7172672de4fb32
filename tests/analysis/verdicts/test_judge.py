"""Error rates of the three verdicts, and verdicts on sweeps with little data."""

from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.analysis.verdicts import judge, judge_explorers, judge_shift, judge_stopping
from orchestrator.analysis.verdicts.verdict import Conclusion, Verdict
from orchestrator.store.frames import Frames
from tests.analysis import planted

NULLS: list[tuple[Callable[[Frames], Verdict], Callable[[np.random.Generator], Frames]]] = [
    (judge_explorers, lambda generator: planted.explorers(generator, effect=0.0)),
    (judge_shift, lambda generator: planted.shift(generator, effect=0.0)),
    (judge_stopping, lambda generator: planted.stopping(generator, planted=False)),
]
EFFECTS: list[tuple[Callable[[Frames], Verdict], Callable[[np.random.Generator], Frames]]] = [
    (judge_explorers, lambda generator: planted.explorers(generator, effect=1.0)),
    (judge_shift, lambda generator: planted.shift(generator, effect=-0.05)),
    (judge_stopping, lambda generator: planted.stopping(generator, planted=True)),
]
IDS = ["conjecture 1", "conjecture 2", "conjecture 3"]


def _supported(judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames], draws: int) -> int:
    return sum(judged(draw(np.random.default_rng(seed))).outcome is Conclusion.SUPPORTED for seed in range(draws))


@pytest.mark.slow
@pytest.mark.parametrize(("judged", "draw"), NULLS, ids=IDS)
def test_at_most_6_6_percent_of_a_thousand_null_sweeps_are_supported(
    judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames]
) -> None:
    assert _supported(judged, draw, 1000) <= 66


@pytest.mark.parametrize(("judged", "draw"), NULLS, ids=IDS)
def test_null_sweeps_are_rarely_supported(
    judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames]
) -> None:
    assert _supported(judged, draw, 30) <= 3


@pytest.mark.parametrize(("judged", "draw"), EFFECTS, ids=IDS)
def test_nine_of_ten_planted_effects_are_supported(
    judged: Callable[[Frames], Verdict], draw: Callable[[np.random.Generator], Frames]
) -> None:
    assert _supported(judged, draw, 30) >= 27


def test_three_verdicts_for_a_sweep_without_epochs_or_columns() -> None:
    found = planted.explorers(np.random.default_rng(0), effect=1.0)
    nothing = Frames(found.sweep, found.provenance, found.epochs.iloc[:0], found.trials, found.samples)
    assert [verdict.outcome for verdict in judge(nothing)] == [Conclusion.NOT_ENOUGH_DATA] * 3
    assert [verdict.outcome for verdict in judge(found)][1:] == [Conclusion.NOT_ENOUGH_DATA] * 2


def test_three_verdicts_for_a_single_trial() -> None:
    found = planted.full(np.random.default_rng(0), [planted.trial(0, 30)])
    assert [verdict.outcome for verdict in judge(found)] == [Conclusion.NOT_ENOUGH_DATA] * 3

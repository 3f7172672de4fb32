"""Attribution of the slots' time."""

from dataclasses import asdict

import pytest

from benchmarks.sweeps.orchestration import TrialSpan, seconds_per_trial, slot_time

# Two slots from second 100 to 130: a at 103, b at 105, c in a's slot from 112, d in b's slot from 116.
SPANS = [TrialSpan(103, 111, 7), TrialSpan(105, 115, 9), TrialSpan(112, 120, 8), TrialSpan(116, 126, 7)]


def test_every_second_of_every_slot_is_accounted_for() -> None:
    found = slot_time(SPANS, began=100, finished=130, slots=2)
    assert asdict(found) == {
        "total": 60,
        "start": 3 + 5,
        "own": 31,
        "within": 1 + 1 + 0 + 3,
        "between": 1 + 1,
        "end": 10 + 4,
    }
    assert found.total == found.start + found.own + found.within + found.between + found.end


def test_the_order_of_the_trials_does_not_matter() -> None:
    assert slot_time(SPANS[::-1], 100, 130, 2) == slot_time(SPANS, 100, 130, 2)


def test_empty_slots_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 trials cannot fill 2 slots; run at least one per slot"):
        slot_time(SPANS[:1], 100, 130, 2)


def test_cost_of_a_trial_is_that_of_the_second_half() -> None:
    assert seconds_per_trial([5.0, 9.0, 9.5, 9.6, 9.7, 9.8]) == pytest.approx(0.1)

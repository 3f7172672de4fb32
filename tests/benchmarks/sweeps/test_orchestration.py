"""Breakdown of the time of the slots."""

from dataclasses import asdict

import pytest

from benchmarks.sweeps.orchestration import TrialSpan, seconds_per_trial, slot_time

# Two slots, open from second 100 to 130. Trials a and b start at 103 and 105. c follows a at 112, d follows b at 116.
SPANS = [TrialSpan(103, 111, 7), TrialSpan(105, 115, 9), TrialSpan(112, 120, 8), TrialSpan(116, 126, 7)]


def test_parts_sum_to_the_total_time_of_all_slots() -> None:
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


def test_result_does_not_depend_on_the_order_of_trials() -> None:
    assert slot_time(SPANS[::-1], 100, 130, 2) == slot_time(SPANS, 100, 130, 2)


def test_empty_slots_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 trials cannot fill 2 slots; run at least one per slot"):
        slot_time(SPANS[:1], 100, 130, 2)


def test_seconds_per_trial_uses_the_second_half() -> None:
    assert seconds_per_trial([5.0, 9.0, 9.5, 9.6, 9.7, 9.8]) == pytest.approx(0.1)

"""The mean record of a trial with every quantity."""

import pytest

from benchmarks.training_loop import record
from benchmarks.training_loop.record import BASE, EVERYTHING, share_of_complete_records


def test_records_are_complete_at_round_numbers() -> None:
    assert share_of_complete_records(6) == 4 / 6  # records 0, 1, 2 and 5
    assert share_of_complete_records(101) == 8 / 101


def test_everything_has_one_trace() -> None:
    assert set(BASE) < set(EVERYTHING)
    assert "sampled_trace" not in EVERYTHING


def test_a_mean_record_weights_both_kinds() -> None:
    complete, usual = [{"total": 101.0, "algorithm1": 20.0}], [{"total": 0.0, "algorithm1": 0.0}]
    found = {label: seconds[0] for label, seconds in record._records(complete, usual).items()}
    assert found == pytest.approx(
        {
            "complete record": 101.0,
            "usual record": 0.0,
            "mean record": 8.0,
            "mean record with `algorithm1_every: 10`": 8.0 - 0.9 * 20 * 8 / 101,
            "mean record without `algorithm1`": 8.0 - 20 * 8 / 101,
        }
    )

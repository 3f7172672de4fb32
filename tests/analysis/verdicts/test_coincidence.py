"""The permutation test of drops and peaks."""

import numpy as np

from orchestrator.analysis.verdicts.coincidence import coincidence


def test_p_is_the_share_of_orders_that_are_as_close() -> None:
    found = coincidence(np.array([10.0, 20, 30, 40, 50]), np.array([11.0, 21, 31, 41, 51]))
    assert found.median_distance == 1
    assert found.p == found.smallest_p
    assert found.p < 0.1


def test_peaks_at_the_same_epoch_reach_no_small_p() -> None:
    assert coincidence(np.array([10.0, 20, 30, 40, 50, 60]), np.full(6, 30.0)).smallest_p == 1

"""The permutation test of drops and peaks."""

import numpy as np

from orchestrator.analysis.verdicts.coincidence import coincidence


def test_p_is_the_fraction_of_permutations_with_at_most_the_observed_distance() -> None:
    found = coincidence(np.array([10.0, 20, 30, 40, 50]), np.array([11.0, 21, 31, 41, 51]))
    assert found.median_distance == 1
    assert found.p == found.smallest_p
    assert found.p < 0.1


def test_smallest_p_is_large_if_all_peaks_are_at_the_same_epoch() -> None:
    assert coincidence(np.array([10.0, 20, 30, 40, 50, 60]), np.full(6, 30.0)).smallest_p == 1

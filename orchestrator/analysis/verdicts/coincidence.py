"""Permutation test for whether the drop and the peak of a trial coincide."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENUMERATED = 7
"""Maximum number of trials for which all permutations are enumerated."""
DRAWN = 5_000
"""Number of random permutations if there are more trials."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coincidence:
    """The distance between drop and peak of a trial, compared with randomly paired drops and peaks."""

    median_distance: float
    """In epochs."""
    p: float
    smallest_p: float
    """The smallest p value that a pairing of these drops and peaks can reach."""


def coincidence(drops: Array, peaks: Array, seed: int = 0) -> Coincidence:
    """Compares the median distance with its distribution over permutations of the peaks among the trials."""
    orders = _orders(len(peaks), seed)
    distances = np.median(np.abs(drops - peaks[orders]), axis=1)
    best = min(float(distances.min()), float(np.median(np.abs(np.sort(drops) - np.sort(peaks)))))
    return Coincidence(
        float(distances[0]),
        float((distances <= distances[0]).mean()),
        max(float((distances <= best).mean()), 1 / len(orders)),
    )


def _orders(n: int, seed: int) -> NDArray[np.int64]:
    """Permutations of range(n), one per row; the first is the identity."""
    if n <= ENUMERATED:
        return np.array(list(itertools.permutations(range(n))), dtype=np.int64)
    rows = np.tile(np.arange(n), (DRAWN, 1))
    rows[1:] = np.random.default_rng(seed).permuted(rows[1:], axis=1)
    return rows

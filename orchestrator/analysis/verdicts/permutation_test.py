"""From which epoch on groups of trials differ by more than their seeds do: a permutation test over all epochs at once.

The largest statistic over epochs is compared with its own distribution under permuted labels (max-T; Westfall and
Young, Resampling-Based Multiple Testing, 1993), so that looking at many epochs does not find what is not there.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENUMERATED = 10_000
"""Up to so many arrangements all of them are tried."""
DRAWN = 2_000

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Separation:
    """What the permutation test found."""

    p: Array
    """Adjusted for all epochs; one an epoch."""
    smallest_p: float
    """What could be reached at best with so many trials."""

    def first(self, alpha: float) -> int | None:
        """The place of the first epoch whose p is at most alpha."""
        places = np.flatnonzero(self.p <= alpha)
        return int(places[0]) if len(places) else None


def smallest_p(labels: Labels, blocks: Labels) -> float:
    """The share of arrangements that only rename the groups: no p can be smaller."""
    arrangements = math.prod(_arrangements(list(labels[blocks == block])) for block in np.unique(blocks))
    sizes = Counter(
        tuple(int(((labels == label) & (blocks == block)).sum()) for block in np.unique(blocks))
        for label in np.unique(labels)
    )
    renamings = math.prod(math.factorial(count) for count in sizes.values())
    reachable = renamings / arrangements
    return reachable if arrangements <= ENUMERATED else max(reachable, 1 / DRAWN)


def separation(values: Array, labels: Labels, blocks: Labels, seed: int = 0) -> Separation:
    """Tests at every epoch whether groups differ within blocks.

    Args:
        values: one row a trial, one column an epoch, all finite.
        labels: the group of each trial.
        blocks: the block of each trial; labels are permuted within.
        seed: of the drawn arrangements, where there are too many to try all.
    """
    centred = values.copy()
    for block in np.unique(blocks):
        centred[blocks == block] -= values[blocks == block].mean(axis=0)
    arrangements = _tried(labels, blocks, seed)
    total = (centred**2).sum(axis=0)
    between = np.zeros((len(arrangements), values.shape[1]))
    for label in np.unique(labels):
        between += ((arrangements == label).astype(float) @ centred) ** 2 / (labels == label).sum()
    # The share between groups rises with F and needs no division by what may be nothing.
    share = between / np.where(total > 0, total, np.inf)
    largest = share.max(axis=1)
    p = (largest[:, None] >= share[0] * (1 - 1e-9)).mean(axis=0)
    return Separation(np.where(total > 0, p, 1.0), smallest_p(labels, blocks))


def _tried(labels: Labels, blocks: Labels, seed: int) -> Labels:
    """Arrangements of the labels, one a row, the observed one first."""
    places = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    count = math.prod(_arrangements(list(labels[place])) for place in places)
    if count <= ENUMERATED:
        every = [list(_multiset(tuple(sorted(labels[place])))) for place in places]
        rows = np.empty((count, len(labels)), dtype=np.int64)
        for row, parts in enumerate(itertools.product(*every)):
            for place, part in zip(places, parts, strict=True):
                rows[row, place] = part
        observed = int(np.flatnonzero((rows == labels).all(axis=1))[0])
        rows[[0, observed]] = rows[[observed, 0]]
        return rows
    generator = np.random.default_rng(seed)
    rows = np.tile(labels, (DRAWN, 1))
    for place in places:
        rows[1:, place] = generator.permuted(rows[1:, place], axis=1)
    return rows


def _arrangements(labels: list[int]) -> int:
    return math.factorial(len(labels)) // math.prod(math.factorial(count) for count in Counter(labels).values())


def _multiset(labels: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All different orders."""
    if not labels:
        yield ()
        return
    for label in sorted(set(labels)):
        rest = list(labels)
        rest.remove(label)
        for tail in _multiset(tuple(rest)):
            yield (label, *tail)

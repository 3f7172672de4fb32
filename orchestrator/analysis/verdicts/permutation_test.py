"""Max-T permutation test for differences between groups of trials, over all epochs at once.

The labels are permuted, and the statistic of each epoch is compared with the distribution of the largest statistic over
all epochs (Westfall and Young, Resampling-Based Multiple Testing, 1993). This controls the familywise error rate.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENUMERATED = 10_000
"""Maximum number of arrangements of the labels that are enumerated."""
DRAWN = 2_000
"""Number of sampled arrangements if there are more."""

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class PermutationTest:
    """The p values of a test at every epoch."""

    p: Array
    """Adjusted p value of every epoch."""
    smallest_p: float
    """The smallest p value that these groups and blocks can reach."""

    def first(self, alpha: float) -> int | None:
        """Index of the first epoch with p <= alpha; None if there is none."""
        positions = np.flatnonzero(self.p <= alpha)
        return int(positions[0]) if len(positions) else None


def smallest_p(labels: Labels, blocks: Labels) -> float:
    """The smallest possible p value: the fraction of arrangements that only rename groups, or 1 / `DRAWN` if larger.

    The second bound applies only if arrangements are sampled.
    """
    arrangements = math.prod(_count_arrangements(list(labels[blocks == block])) for block in np.unique(blocks))
    sizes = Counter(
        tuple(int(((labels == label) & (blocks == block)).sum()) for block in np.unique(blocks))
        for label in np.unique(labels)
    )
    renamings = math.prod(math.factorial(count) for count in sizes.values())
    reachable = renamings / arrangements
    return reachable if arrangements <= ENUMERATED else max(reachable, 1 / DRAWN)


def permutation_test(values: Array, labels: Labels, blocks: Labels, seed: int = 0) -> PermutationTest:
    """Tests at every epoch whether the groups differ, by permutations within blocks.

    Args:
        values: [trials, epochs], finite.
        labels: the group of each trial.
        blocks: the block of each trial.
        seed: seed of the sampled arrangements.
    """
    centred = values.copy()
    for block in np.unique(blocks):
        centred[blocks == block] -= values[blocks == block].mean(axis=0)
    arrangements = _permuted_labels(labels, blocks, seed)
    total = (centred**2).sum(axis=0)
    between = np.zeros((len(arrangements), values.shape[1]))
    for label in np.unique(labels):
        between += ((arrangements == label).astype(float) @ centred) ** 2 / (labels == label).sum()
    # The share of the variance between groups increases with F, and is defined if the variance within groups is zero.
    share = between / np.where(total > 0, total, np.inf)
    largest = share.max(axis=1)
    p = (largest[:, None] >= share[0] * (1 - 1e-9)).mean(axis=0)
    return PermutationTest(np.where(total > 0, p, 1.0), smallest_p(labels, blocks))


def _permuted_labels(labels: Labels, blocks: Labels, seed: int) -> Labels:
    """Arrangements of the labels within blocks, one per row; the first is the observed one."""
    positions = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    count = math.prod(_count_arrangements(list(labels[position])) for position in positions)
    if count <= ENUMERATED:
        every = [list(_distinct_orders(tuple(sorted(labels[position])))) for position in positions]
        rows = np.empty((count, len(labels)), dtype=np.int64)
        for row, parts in enumerate(itertools.product(*every)):
            for position, part in zip(positions, parts, strict=True):
                rows[row, position] = part
        observed = int(np.flatnonzero((rows == labels).all(axis=1))[0])
        rows[[0, observed]] = rows[[observed, 0]]
        return rows
    generator = np.random.default_rng(seed)
    rows = np.tile(labels, (DRAWN, 1))
    for position in positions:
        rows[1:, position] = generator.permuted(rows[1:, position], axis=1)
    return rows


def _count_arrangements(labels: list[int]) -> int:
    return math.factorial(len(labels)) // math.prod(math.factorial(count) for count in Counter(labels).values())


def _distinct_orders(labels: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All distinct orders of the labels."""
    if not labels:
        yield ()
        return
    for label in sorted(set(labels)):
        rest = list(labels)
        rest.remove(label)
        for tail in _distinct_orders(tuple(rest)):
            yield (label, *tail)

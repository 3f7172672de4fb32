"""Compares the permutation test with a naive implementation."""

import itertools

import numpy as np
import pytest

from orchestrator.analysis.verdicts.permutation_test import permutation_test, smallest_p


def _labels(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize(
    ("sizes", "expected"), [((4, 4), 2 / 70), ((2, 2), 1 / 3), ((3, 4), 1 / 35), ((2, 2, 2), 6 / 90)]
)
def test_smallest_p_of_a_number_of_seeds(sizes: tuple[int, ...], expected: float) -> None:
    labels = _labels(*sizes)
    assert smallest_p(labels, np.zeros(len(labels), dtype=int)) == pytest.approx(expected)


def test_smallest_p_with_blocks() -> None:
    labels, blocks = np.tile(_labels(2, 2), 2), np.repeat([0, 1], 4)
    assert smallest_p(labels, blocks) == pytest.approx(2 / 36)


def test_p_matches_the_naive_test() -> None:
    generator = np.random.default_rng(0)
    labels, blocks = np.array([0, 0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 1])
    values = generator.normal(size=(7, 3)) + 2.0 * labels[:, None] * np.array([0, 1, 2])

    def f(arrangement: np.ndarray) -> np.ndarray:
        centred = values - np.array([values[blocks == block].mean(axis=0) for block in blocks])
        between = sum(
            (arrangement == label).sum() * centred[arrangement == label].mean(axis=0) ** 2 for label in (0, 1)
        )
        return np.asarray(between / ((centred**2).sum(axis=0) - between))

    every = [
        np.array([*first, *second])
        for first in set(itertools.permutations([0, 0, 1, 1]))
        for second in set(itertools.permutations([0, 1, 1]))
    ]
    largest = np.array([f(arrangement).max() for arrangement in every])
    expected = [(largest >= observed - 1e-12).mean() for observed in f(labels)]
    found = permutation_test(values, labels, blocks)
    assert found.p == pytest.approx(expected)
    assert found.smallest_p == pytest.approx(1 / 18)


def test_difference_is_found_at_its_first_epoch() -> None:
    generator = np.random.default_rng(1)
    labels = _labels(4, 4)
    values = generator.normal(size=(8, 20))
    values[:, 12:] += 20 * labels[:, None]
    found = permutation_test(values, labels, np.zeros(8, dtype=int))
    assert found.first(0.05) == 12
    assert found.p[12] == pytest.approx(2 / 70)


def test_sampled_arrangements_are_reproducible_for_a_seed() -> None:
    labels = _labels(12, 12)
    values = np.random.default_rng(2).normal(size=(24, 5)) + 3 * labels[:, None]
    first, second = (permutation_test(values, labels, np.zeros(24, dtype=int), seed=4) for _ in range(2))
    assert first.p.tolist() == second.p.tolist()
    assert first.p.max() <= 0.001


def test_p_of_constant_values_is_one() -> None:
    assert permutation_test(np.ones((8, 3)), _labels(4, 4), np.zeros(8, dtype=int)).p.tolist() == [1, 1, 1]

"""Drops and peaks in curves with and without planted ones."""

import numpy as np
import pytest

from orchestrator.analysis.verdicts.change_point import find_drop, find_peak, running_mean

EPOCHS = np.arange(1.0, 61.0)


def _noise(seed: int, size: float = 0.05) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, size, len(EPOCHS)))


@pytest.mark.parametrize("epoch", [8, 30, 55])
def test_planted_drop_is_found_with_its_size(epoch: int) -> None:
    trace = 300 * np.where(epoch <= EPOCHS, 0.4, 1.0) * _noise(epoch)
    drop = find_drop(EPOCHS, trace)
    assert drop is not None
    assert abs(drop.epoch - epoch) <= 1
    assert drop.low <= epoch <= drop.high
    assert drop.high - drop.low <= 4
    assert drop.factor == pytest.approx(0.4, rel=0.15)


def test_drop_on_a_slope_is_found() -> None:
    trace = 50 * np.exp(0.03 * EPOCHS) * np.where(EPOCHS >= 40, 0.3, 1.0) * _noise(0)
    drop = find_drop(EPOCHS, trace)
    assert drop is not None
    assert abs(drop.epoch - 40) <= 1


def test_noise_widens_the_interval() -> None:
    step = 300 * np.where(EPOCHS >= 30, 0.4, 1.0)
    quiet, loud = find_drop(EPOCHS, step * _noise(3, 0.02)), find_drop(EPOCHS, step * _noise(3, 0.35))
    assert quiet is not None
    assert loud is not None
    assert loud.high - loud.low > quiet.high - quiet.low


@pytest.mark.parametrize(
    "curve",
    [
        np.full(60, 300.0),
        300 * np.exp(-0.04 * EPOCHS),
        20 + 10 * EPOCHS,
        300 * np.exp(-0.5 * ((EPOCHS - 25) / 14) ** 2) + 30,
        300 * np.where(EPOCHS >= 30, 2.0, 1.0),
        300 * np.where(EPOCHS >= 30, 0.8, 1.0),
    ],
    ids=["flat", "decay", "rise", "hill", "jump up", "small step"],
)
def test_no_drop_is_found_in_curves_without_one(curve: np.ndarray) -> None:
    assert sum(find_drop(EPOCHS, curve * _noise(seed)) is not None for seed in range(20)) <= 1


def test_drops_are_rarely_found_in_random_walks() -> None:
    walks = (np.exp(4 + np.random.default_rng(seed).normal(0, 0.1, 60).cumsum()) for seed in range(200))
    assert sum(find_drop(EPOCHS, walk) is not None for walk in walks) <= 20


def test_peak_is_the_end_of_the_rise() -> None:
    accuracy = 0.1 + 0.6 * np.minimum(EPOCHS / 20, 1) + np.random.default_rng(0).normal(0, 0.002, 60)
    peak = find_peak(EPOCHS, accuracy)
    assert peak is not None
    assert abs(peak - 20) <= 2


def test_rising_and_constant_curves_have_no_peak() -> None:
    assert find_peak(EPOCHS, EPOCHS / 100) is None
    assert find_peak(EPOCHS, np.full(60, 0.1)) is None


def test_running_mean_uses_fewer_epochs_at_both_ends() -> None:
    assert running_mean(np.array([1.0, 2.0, 6.0, 4.0]), 3).tolist() == pytest.approx([1.5, 3, 4, 5])

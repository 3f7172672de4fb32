"""Where a trial's trace drops suddenly, if it does, and where its validation accuracy has stopped to rise."""

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST = 12
"""Epochs below which a step cannot be told from a bend."""
_MARGIN = 3
"""Epochs that a step must leave on either side."""
_LEAST_DROP = math.log(0.7)
_BIC_MARGIN = 10.0
"""Very strong evidence (Kass and Raftery, JASA 1995)."""
_LIKELIHOOD_RATIO = 3.84
"""The 95% quantile of chi-squared with one degree of freedom."""
_RISEN = 0.98
_LEAST_RISE = 1e-6
"""A smaller rise of the accuracy is rounding."""
WINDOW = 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drop:
    """A sudden fall of the trace."""

    epoch: float
    """The first epoch after it."""
    low: float
    high: float
    """The 95% interval of the epoch."""
    factor: float
    """What the trace was multiplied by."""


@functools.cache
def _basis(n: int) -> tuple[Array, Array]:
    """An orthonormal basis of straight lines, and all steps down without their straight part, one a row."""
    line, _ = np.linalg.qr(np.column_stack([np.ones(n), np.arange(n)]))
    steps = np.array([(np.arange(n) >= place).astype(float) for place in range(_MARGIN, n - _MARGIN + 1)])
    return line, steps - steps @ line @ line.T


def find_drop(epochs: Array, trace: Array) -> Drop | None:
    """The drop of a trace, or None where a straight line describes arsinh(trace) as well as one with a step does.

    Args:
        epochs: in order.
        trace: one an epoch, all finite; `SHORTEST` at least.
    """
    n = len(trace)
    line, steps = _basis(n)
    values = np.arcsinh(trace)
    rest = values - line @ (line.T @ values)
    norms = (steps**2).sum(axis=1)
    sizes = steps @ rest / norms
    plain = float(rest @ rest)
    errors = np.maximum(plain - sizes**2 * norms, 1e-12 * max(plain, 1e-300))
    allowed = sizes <= _LEAST_DROP
    if not allowed.any():
        return None
    best = int(np.argmin(np.where(allowed, errors, np.inf)))
    effective = _effective(rest - sizes[best] * steps[best])
    gain = effective * math.log(plain / errors[best]) - 2 * math.log(effective)
    if gain <= _BIC_MARGIN:
        return None
    near = np.flatnonzero(allowed & (effective * np.log(errors / errors[best]) <= _LIKELIHOOD_RATIO)) + _MARGIN
    return Drop(
        float(epochs[best + _MARGIN]), float(epochs[near[0]]), float(epochs[near[-1]]), math.exp(float(sizes[best]))
    )


def find_peak(epochs: Array, accuracy: Array) -> float | None:
    """The first epoch at which the accuracy's running mean has made 98% of its rise; None where it still rises."""
    smooth = running(accuracy, WINDOW)
    rise = smooth.max() - smooth[0]
    place = int(np.argmax(smooth >= smooth[0] + _RISEN * rise))
    if rise < _LEAST_RISE or place >= len(epochs) - max(1, math.ceil(len(epochs) / 10)):
        return None
    return float(epochs[place])


def running(values: Array, window: int) -> Array:
    """The mean of the epochs around each one, fewer at both ends."""
    half = window // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return np.asarray((total[last] - total[first]) / (last - first), dtype=float)


@dataclass(frozen=True)
class Coincidence:
    """Whether drops and peaks of the same trial lie closer than those of different trials."""

    median_distance: float
    """Epochs."""
    p: float
    smallest_p: float
    """Of the best pairing of these very drops and peaks."""


def coincidence(drops: Array, peaks: Array, seed: int = 0) -> Coincidence:
    """Compares the median distance with that under permuted peaks."""
    orders = _orders(len(peaks), seed)
    distances = np.median(np.abs(drops - peaks[orders]), axis=1)
    best = min(float(distances.min()), float(np.median(np.abs(np.sort(drops) - np.sort(peaks)))))
    return Coincidence(
        float(distances[0]),
        float((distances <= distances[0]).mean()),
        max(float((distances <= best).mean()), 1 / len(orders)),
    )


def _orders(n: int, seed: int) -> NDArray[np.int64]:
    """Orders of n things, one a row, the given one first."""
    if n <= 7:
        return np.array(list(itertools.permutations(range(n))), dtype=np.int64)
    generator = np.random.default_rng(seed)
    rows = np.tile(np.arange(n), (5_000, 1))
    rows[1:] = generator.permuted(rows[1:], axis=1)
    return rows


def _effective(residual: Array) -> float:
    """The number of independent epochs that are worth as much, by the first autocorrelation."""
    square = float(residual @ residual)
    correlation = float(residual[1:] @ residual[:-1]) / square if square > 0 else 0.0
    correlation = min(max(correlation, 0.0), 0.95)
    return max(len(residual) * (1 - correlation) / (1 + correlation), 2.0)

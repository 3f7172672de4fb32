"""Change points of a trial: the sudden drop of its trace and the end of the rise of its validation accuracy."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST = 12
"""Minimum number of epochs. With fewer, a step cannot be distinguished from a gradual change."""
_MARGIN = 3
"""Minimum number of epochs on either side of a step."""
_LEAST_DROP = math.log(0.7)
"""Step in log(trace) if the trace falls by 30%. A smaller fall is not a drop."""
_BIC_MARGIN = 10.0
"""Minimum decrease of BIC: very strong evidence according to Kass and Raftery (JASA 1995)."""
_LIKELIHOOD_RATIO = 3.84
"""95% quantile of chi-squared with one degree of freedom."""
_RISEN = 0.98
"""Fraction of the total rise at which the accuracy has reached its peak."""
_LEAST_RISE = 1e-6
"""Minimum rise of the accuracy. A smaller rise is rounding error."""
WINDOW = 5
"""Number of epochs in the running mean."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drop:
    """A sudden drop of the trace."""

    epoch: float
    """First epoch after the drop."""
    low: float
    high: float
    """Bounds of the 95% interval of `epoch`."""
    factor: float
    """Trace after the drop over trace before it."""


@functools.cache
def _basis(n: int) -> tuple[Array, Array]:
    """An orthonormal basis of straight lines [n, 2], and all step functions without their linear trend [steps, n]."""
    line, _ = np.linalg.qr(np.column_stack([np.ones(n), np.arange(n)]))
    steps = np.array([(np.arange(n) >= position).astype(float) for position in range(_MARGIN, n - _MARGIN + 1)])
    return line, steps - steps @ line @ line.T


def find_drop(epochs: Array, trace: Array) -> Drop | None:
    """Fits arsinh(trace) by a line and by a line with a step down by at least 30%.

    Returns the best step, or None if it does not lower the BIC by more than 10.

    Args:
        epochs: at least `SHORTEST` epochs, ascending.
        trace: finite values at these epochs.
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
    effective = _effective_size(rest - sizes[best] * steps[best])
    gain = effective * math.log(plain / errors[best]) - 2 * math.log(effective)
    if gain <= _BIC_MARGIN:
        return None
    near = np.flatnonzero(allowed & (effective * np.log(errors / errors[best]) <= _LIKELIHOOD_RATIO)) + _MARGIN
    return Drop(
        float(epochs[best + _MARGIN]), float(epochs[near[0]]), float(epochs[near[-1]]), math.exp(float(sizes[best]))
    )


def find_peak(epochs: Array, accuracy: Array) -> float | None:
    """The first epoch at which the running mean has completed 98% of its rise.

    None if it does not rise, or if this epoch is in the last tenth, because it may still be rising.
    """
    smooth = running_mean(accuracy, WINDOW)
    rise = smooth.max() - smooth[0]
    position = int(np.argmax(smooth >= smooth[0] + _RISEN * rise))
    if rise < _LEAST_RISE or position >= len(epochs) - max(1, math.ceil(len(epochs) / 10)):
        return None
    return float(epochs[position])


def running_mean(values: Array, window: int) -> Array:
    """The centred running mean. The window is truncated at both ends."""
    half = window // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    positions = np.arange(len(values))
    first, last = np.maximum(positions - half, 0), np.minimum(positions + half + 1, len(values))
    return np.asarray((total[last] - total[first]) / (last - first), dtype=float)


def _effective_size(residual: Array) -> float:
    """The effective sample size of the residuals, from their lag-1 autocorrelation."""
    square = float(residual @ residual)
    correlation = float(residual[1:] @ residual[:-1]) / square if square > 0 else 0.0
    correlation = min(max(correlation, 0.0), 0.95)
    return max(len(residual) * (1 - correlation) / (1 + correlation), 2.0)

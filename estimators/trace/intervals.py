"""Confidence intervals of a mean of trace probes, and how many probes an error bound requires."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from estimators.trace.student_t import student_quantile

Method = Literal["student", "chebyshev"]

# With fewer probes, the coverage of the Student t interval was 89% to 100% instead of 95% (benchmarks/README.md),
# because so few norms ||Az|| do not reveal how many eigenvalues dominate the variance.
MIN_PROBES = 10
# If a few eigenvalues of both signs dominate, the mean of ten samples is not yet close to normal. With two opposite
# eigenvalues a sample has a Laplace distribution, and the coverage was 97.2%.
MIN_PROBES_INDEFINITE = 20
_FEW_EIGENVALUES = 3.0

# Prior weight, in probes, of the worst case, a single dominant eigenvalue. Without it, two or three norms that agree by
# chance would give too many degrees of freedom.
_PRIOR_PROBES = 0.2
# Above this, the t distribution equals the normal distribution to 4 digits.
MAX_DEGREES_OF_FREEDOM = 10_000.0


def degrees_of_freedom(squared_norms: Sequence[float], variance: float) -> float:
    """Degrees of freedom of ``variance``, the estimated variance of one sample z'Az.

    At least the number of probes, and about k times that number if k eigenvalues dominate the variance. The relative
    variance of ||Az||^2 is 2/k with k = (sum lambda^2)^2 / sum lambda^4, that of a chi-squared variable with k degrees
    of freedom (Satterthwaite, 1946).
    """
    count = len(squared_norms)
    if variance == 0.0:
        return MAX_DEGREES_OF_FREEDOM
    mean = math.fsum(squared_norms) / count
    # Relative to the variance / 2, which excludes the diagonal for Rademacher probes.
    relative = math.fsum((norm - mean) ** 2 for norm in squared_norms) / (variance / 2.0) ** 2
    spread = (relative + 2.0 * _PRIOR_PROBES) / (count - 1 + _PRIOR_PROBES)
    return min(count * max(1.0, 2.0 / spread), MAX_DEGREES_OF_FREEDOM)


def min_probes(samples: Sequence[float], degrees: float) -> int:
    """Minimum number of probes for the Student t interval to reach its nominal coverage, estimated from samples."""
    both_signs = min(samples) < 0.0 < max(samples)
    return MIN_PROBES_INDEFINITE if both_signs and degrees < _FEW_EIGENVALUES * len(samples) else MIN_PROBES


def half_width(variance: float, degrees: float, level: float, method: Method) -> float:
    """Half-width of the confidence interval of a mean whose variance was estimated with ``degrees`` degrees of freedom.

    Infinite or NaN if the variance is infinite or NaN.

    Raises:
        ValueError: if level is outside (0, 1) or the method is unknown.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}, expected a probability in (0, 1): for 95% pass 0.95")
    if method not in ("student", "chebyshev"):
        raise ValueError(f'method is {method!r}, expected "student" or "chebyshev"')
    if variance == math.inf or variance != variance:
        return variance
    probability = (1.0 + level) / 2.0
    quantile = student_quantile(probability, degrees)
    if method == "chebyshev":
        # Chebyshev's inequality assumes a known variance. Widen by the ratio of the t quantile to the normal quantile.
        quantile *= 1.0 / math.sqrt(1.0 - level) / NormalDist().inv_cdf(probability)
    return quantile * math.sqrt(variance)


def required_probes(
    mean: float,
    std: float,
    epsilon: float = 0.1,
    epsilon_abs: float = 1.0,
    delta: float = 0.05,
    published: bool = False,
) -> float:
    """Number of probes for which P(|estimate - trace| < max(epsilon |mean|, epsilon_abs)) is at least 1 - delta.

    Follows from Chebyshev's inequality. The mean of n samples of standard deviation s has variance s^2 / n, so
    n >= s^2 / (delta max(...)^2). Equation (15) of the paper divides by n^2, so its equation (16) is the square root of
    the correct bound. The result is not rounded because Figure 2 averages it over epochs. To choose a number of probes,
    use max(1, math.ceil(result)).

    Args:
        mean: mean of the samples, used in place of the trace.
        std: standard deviation of *one* sample, in the same units.
        epsilon: relative error, a fraction.
        epsilon_abs: absolute error in the trace's units. An error below it is accepted if the trace is close to zero.
        delta: probability of a larger error.
        published: return equation (16) as printed.

    Raises:
        ValueError: if mean or std is not finite, std, epsilon or epsilon_abs is negative, the allowed error is zero, or
            delta is outside (0, 1).

    >>> round(required_probes(mean=233.0, std=50.0), 3), round(required_probes(mean=233.0, std=50.0, published=True), 3)
    (92.1, 9.597)
    """
    if not math.isfinite(mean):
        raise ValueError(f"mean is {mean}, expected a finite number: leave out diverged trials")
    if not 0.0 <= std < math.inf:
        raise ValueError(f"std is {std}, expected a finite number, at least 0: leave out diverged trials")
    if not (0.0 <= epsilon < math.inf and 0.0 <= epsilon_abs < math.inf):
        raise ValueError(f"epsilon is {epsilon} and epsilon_abs {epsilon_abs}, expected finite numbers, at least 0")
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta is {delta}, expected a probability in (0, 1): for 95% confidence pass 0.05")
    allowed = max(epsilon * abs(mean), epsilon_abs)
    if allowed == 0.0:
        raise ValueError(f"max({epsilon} * |{mean}|, {epsilon_abs}) is zero, expected more: raise epsilon_abs")
    published_bound = std / (math.sqrt(delta) * allowed)
    return published_bound if published else published_bound**2

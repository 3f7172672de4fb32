"""How sure a mean of trace probes is: intervals from the norms of the products, and how much those norms know."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from estimators.trace.student_t import student_quantile

Method = Literal["student", "chebyshev"]

# Below, the norms of the products do not tell yet on how many eigenvalues the variance rests: Student's interval was
# seen to hold the trace in 90% to 99% of the cases instead of 95% (benchmarks/README.md).
FEWEST_PROBES = 10
# Where eigenvalues of both signs carry the variance, and fewer of them than this, the mean of ten samples is not yet
# normal: of two opposite eigenvalues a sample has Laplace's distribution, and the interval held the trace in 97.2%.
FEWEST_OF_BOTH_SIGNS = 20
_FEW_EIGENVALUES = 3.0

# In so many probes' worth the squared norms are supposed to vary as those of a single eigenvalue, the worst case: two
# or three that happen to agree prove little.
_PRIOR_PROBES = 0.2
# Beyond, Student's distribution is the normal one to 4 digits.
MOST_DEGREES = 10_000.0


def variance_degrees(squared_norms: Sequence[float], variance: float) -> float:
    """How well ``variance``, of one sample z'Az, is known: as that of so many independent normal numbers.

    At least as many as there are probes, and about as many times more as there are eigenvalues that carry the
    variance: one squared norm ||Az||^2 varies by 2 sum lambda^4 / (sum lambda^2)^2 relative to its mean squared, as the
    mean of that many squared normal numbers does (Satterthwaite, 1946).
    """
    count = len(squared_norms)
    if variance == 0.0:
        return MOST_DEGREES
    mean = math.fsum(squared_norms) / count
    # Relative to what is left of the norm where the diagonal does not count (Rademacher probes).
    relative = math.fsum((norm - mean) ** 2 for norm in squared_norms) / (variance / 2.0) ** 2
    spread = (relative + 2.0 * _PRIOR_PROBES) / (count - 1 + _PRIOR_PROBES)
    return min(count * max(1.0, 2.0 / spread), MOST_DEGREES)


def fewest_probes(samples: Sequence[float], degrees: float) -> int:
    """How many probes Student's interval needs to hold the trace as often as it says, by what these samples show."""
    both_signs = min(samples) < 0.0 < max(samples)
    return FEWEST_OF_BOTH_SIGNS if both_signs and degrees < _FEW_EIGENVALUES * len(samples) else FEWEST_PROBES


def half_width(variance: float, degrees: float, level: float, method: Method) -> float:
    """Half of an interval around a mean of this ``variance``, which ``degrees`` normal numbers tell.

    Infinite or NaN where the variance is.

    Raises:
        ValueError: if level is outside (0, 1), or for another method.
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
        # Chebyshev's inequality supposes a known variance. That it is not makes it as much wider as the other one.
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
    """How many probes Chebyshev's inequality asks for, so that |estimate - trace| < max(epsilon |mean|, epsilon_abs).

    This holds with probability 1 - delta. With s the standard deviation of one sample, the mean of n samples has
    variance s^2 / n, so n >= s^2 / (delta max(...)^2). The paper divides by n^2 in equation (15) and prints the
    square root of this as (16): ``published=True``. Not rounded up: Figure 2 shows means of these numbers over
    epochs, and a mean of rounded ones is another number. Draw math.ceil of it, at least 1.

    Args:
        mean: of the samples, in place of the trace.
        std: the standard deviation of *one* sample, in the same units.
        epsilon: relative error, a fraction.
        epsilon_abs: absolute error, in the trace's units, that is good enough where the trace is near zero.
        delta: probability of a larger error.
        published: equation (16) as printed.

    Raises:
        ValueError: for a mean or std that is not finite, a negative std, epsilon or epsilon_abs, no positive error
            allowed, or delta outside (0, 1).

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

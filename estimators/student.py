"""Quantiles of Student's t distribution, exact to rounding and without SciPy."""

import math

# The continued fraction converges in O(sqrt(degrees of freedom)) terms.
_TERMS = 10_000


def student_quantile(probability: float, degrees: int) -> float:
    """The t with P(T <= t) = probability, for 1/2 <= probability < 1 and ``degrees`` >= 1 degrees of freedom.

    Bisection on P(|T| > t) = I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2) (Abramowitz and Stegun,
    26.7.1), to the last bit of t.
    """
    assert 0.5 <= probability < 1.0
    assert degrees >= 1
    outside = 2.0 * (1.0 - probability)
    low, high = 0.0, 1.0
    while _outside(high, degrees) > outside:
        low, high = high, 2.0 * high
    while low < (middle := (low + high) / 2.0) < high:
        if _outside(middle, degrees) > outside:
            low = middle
        else:
            high = middle
    return high


def _outside(t: float, degrees: int) -> float:
    """P(|T| > t)."""
    squared = t * t
    return _regularised_beta(degrees / (degrees + squared), squared / (degrees + squared), degrees / 2.0, 0.5)


def _regularised_beta(x: float, complement: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), complement = 1 - x."""
    if x <= 0.0 or complement <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _regularised_beta(complement, x, b, a)
    log_factor = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(complement)
    return math.exp(log_factor) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)) of Abramowitz and Stegun 26.5.8, by the modified Lentz method."""
    value, numerator, denominator = 1.0, 1.0, 0.0
    for term in range(1, _TERMS):
        m = term // 2
        if term % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        denominator = 1.0 / (1.0 + d * denominator)
        numerator = 1.0 + d / numerator
        value *= numerator * denominator
        if abs(numerator * denominator - 1.0) < 1e-15:
            break
    return value

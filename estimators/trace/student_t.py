"""Quantiles of Student's t distribution, accurate to rounding and without SciPy."""

import math

# The continued fraction converges in O(sqrt(degrees of freedom)) terms.
_TERMS = 10_000


def student_quantile(probability: float, degrees_of_freedom: float) -> float:
    """The quantile t with P(T <= t) = probability, for 1/2 <= probability < 1 and at least one degree of freedom.

    Uses Newton's method on P(|T| > t) = I_x(d / 2, 1 / 2) with d degrees of freedom and x = d / (d + t^2) (Abramowitz
    and Stegun, 26.7.1). The function is convex for t > 0. Newton's iterates from zero therefore increase towards the
    quantile and, except for rounding, never exceed it.
    """
    assert 0.5 <= probability < 1.0
    assert degrees_of_freedom >= 1
    d, both_tails = degrees_of_freedom, 2.0 * (1.0 - probability)
    log_factor = math.lgamma((d + 1.0) / 2.0) - math.lgamma(d / 2.0) - math.log(d * math.pi) / 2.0
    t, step = 0.0, math.inf
    while step > 1e-14 * t:
        squared = t * t
        density = math.exp(log_factor - (d + 1.0) / 2.0 * math.log1p(squared / d))
        found = _regularised_beta(d / (d + squared), squared / (d + squared), d / 2.0, 0.5)
        step = (found - both_tails) / (2.0 * density)
        t += max(step, 0.0)
    return t


def _regularised_beta(x: float, complement: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), with complement = 1 - x."""
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

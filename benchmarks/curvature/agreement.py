"""Compares products, eigenvalues and traces with those of naive double backward."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.curvature.naive import ProductOperator
from estimators import HessianTrace, HutchinsonResult, SampledGaussNewtonTrace, hutchinson

TOLERANCE = 1e-3
"""Numbers without a standard error agree up to this relative difference."""
STANDARD_ERRORS = 6.0
"""Two estimates agree up to this many standard errors of their difference."""


@dataclass(frozen=True)
class Agreement:
    """A number and its difference from that of naive double backward."""

    value: float
    expected: float
    """The number by naive double backward."""
    difference: float
    """Relative to `expected`. For products, the relative difference of the vectors."""
    standard_error: float | None = None
    """Standard error of `difference` if both numbers are estimates; None otherwise."""
    probes: int = 0
    """Number of probes of a trace; 0 if it needed none."""

    @property
    def close(self) -> bool:
        """Whether the numbers agree. NaN agrees with nothing."""
        return self.difference <= (TOLERANCE if self.standard_error is None else STANDARD_ERRORS * self.standard_error)

    def __str__(self) -> str:
        if self.standard_error is None:
            return f"{self.difference:.0e}"
        return f"{self.difference / self.standard_error:.1f} standard errors of {self.standard_error:.0%}"


def compare_products(product: Tensor, vector: Tensor, expected: Tensor) -> Agreement:
    """Compares two products H v. `value` and `expected` of the result are v'Hv."""
    difference = float((product - expected).norm() / expected.norm())
    return Agreement(float(vector @ product), float(vector @ expected), difference)


def compare_numbers(value: float, expected: float) -> Agreement:
    return Agreement(value, expected, abs(value / expected - 1.0))


def compare_traces(trace: HessianTrace | SampledGaussNewtonTrace, naive: ProductOperator, probes: int) -> Agreement:
    """Compares a trace with the mean over Rademacher probes of the naive products."""
    expected = hutchinson(naive, probes, "rademacher", generator=torch.Generator().manual_seed(3))
    error = math.sqrt(_variance(trace) + _variance_of_mean(expected)) / abs(expected.value)
    used = len(trace.samples) if isinstance(trace, HessianTrace) else 0
    return Agreement(trace.value, expected.value, abs(trace.value / expected.value - 1.0), error, used)


def _variance(trace: HessianTrace | SampledGaussNewtonTrace) -> float:
    if isinstance(trace, SampledGaussNewtonTrace):
        return trace.standard_error**2
    signs = trace.gauss_newton_trace
    sampled = signs.standard_error**2 if isinstance(signs, SampledGaussNewtonTrace) else 0.0
    return sampled + (0.0 if trace.probes is None else _variance_of_mean(trace.probes))


def _variance_of_mean(result: HutchinsonResult) -> float:
    # From the norms of the products, because the spread of a few samples is unreliable.
    return result.variance_of_mean("student")[0]

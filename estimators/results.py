"""What the estimators return: a value, its uncertainty, the numbers behind it and what it cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from estimators.student import student_quantile


@dataclass(frozen=True, eq=False)
class PowerIterationResult:
    """What :func:`estimators.power_iteration` found. Eigenvalues are in units of the loss per squared parameter."""

    value: float
    """The last Rayleigh quotient: in the limit the eigenvalue of largest magnitude, with its sign."""
    residual: float
    """||A v - value v|| of ``vector``: some eigenvalue lies within it of ``value``."""
    products: float
    """Products it took."""
    history: tuple[float, ...] = field(repr=False)
    """All Rayleigh quotients, one per iteration."""
    vector: Tensor = field(repr=False)
    """[size], of unit length: the vector that ``value`` is the Rayleigh quotient of."""


@dataclass(frozen=True, eq=False)
class LanczosResult:
    """What :func:`estimators.lanczos` found. Eigenvalues are in units of the loss per squared parameter."""

    lambda_max: float
    """The largest Ritz value: never above the algebraically largest eigenvalue, but for rounding."""
    lambda_min: float
    """The smallest Ritz value: never below the algebraically smallest eigenvalue, but for rounding."""
    residual: float
    """||A v - lambda_max v|| of ``vector``: some eigenvalue lies within it of ``lambda_max``."""
    lambda_min_residual: float
    """The same for ``lambda_min`` and its Ritz vector."""
    error: float
    """How far below the largest eigenvalue ``lambda_max`` is to be expected: residual^2 / gap, the gap to the next Ritz
    value; the residual where that is less. In the units of ``lambda_max``; an estimate, no bound."""
    converged: bool
    """Is lambda_max within the tolerance? See :func:`estimators.lanczos` for what is known and what is not."""
    products: float
    """Products it took."""
    history: tuple[float, ...] = field(repr=False)
    """The largest Ritz value after each product."""
    vector: Tensor = field(repr=False)
    """[size], of unit length: the Ritz vector of lambda_max."""
    basis: Tensor = field(repr=False)
    """Q [size, k], orthonormal columns, k the number of products."""
    tridiagonal: Tensor = field(repr=False)
    """T = Q'AQ [k, k], float64 on the CPU; its eigenvalues are all Ritz values."""


@dataclass(frozen=True, eq=False)
class HutchinsonResult:
    """What :func:`estimators.hutchinson` found. The trace is in units of the loss per squared parameter."""

    value: float
    """The mean of ``samples``: an unbiased estimate of the trace."""
    standard_error: float
    """The samples' standard deviation (n - 1 in the denominator) / sqrt(n); NaN for a single probe."""
    frobenius: float | None
    """sqrt(mean ||A z||^2), whose square is unbiased for ||A||_F^2; None with deflation, which sees part of A only."""
    products: float
    """Products it took, those behind the deflating basis not included."""
    samples: tuple[float, ...] = field(repr=False)
    """One unbiased estimate of the trace per probe."""

    def interval(self, level: float = 0.95, method: Literal["student", "chebyshev"] = "student") -> tuple[float, float]:
        """(low, high), meant to hold the trace with probability ``level``.

        "student" supposes normal samples: with ten probes it holds the trace less often than ``level`` says where
        one eigenvalue dominates (about 86% instead of 95%). "chebyshev" supposes nothing but that the standard error
        is right, and is wider. A single probe says nothing: (-inf, inf).

        Raises:
            ValueError: if level is outside (0, 1), or for another method.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}, expected a probability in (0, 1): for 95% pass 0.95")
        if method not in ("student", "chebyshev"):
            raise ValueError(f'method is {method!r}, expected "student" or "chebyshev"')
        if len(self.samples) == 1:
            return -math.inf, math.inf
        if method == "student":
            half_width = student_quantile((1.0 + level) / 2.0, len(self.samples) - 1) * self.standard_error
        else:
            half_width = self.standard_error / math.sqrt(1.0 - level)
        return self.value - half_width, self.value + half_width


@dataclass(frozen=True, eq=False)
class GaussNewtonTrace:
    """What :func:`estimators.exact_trace` found. Traces are in units of the loss per squared parameter."""

    value: float
    """tr(GGN) of the mean loss over these samples: the mean of ``per_sample``."""
    exact: bool
    """Is tr(GGN) = tr(H) for this network? True only where that is proved; ``reason`` says why."""
    reason: str
    """What makes the two traces equal, or what may set them apart."""
    sampling_error: float
    """The standard error of ``value`` as an estimate of the trace over the distribution that the samples were drawn
    from: s / sqrt(n) of ``per_sample``, NaN for one sample. For the trace over N samples of which these are n random
    ones, multiply by sqrt(1 - n / N)."""
    backward_passes: float
    """Backward passes to the layers' outputs, over all samples; each with its norms costs about two forward passes."""
    per_parameter: Mapping[str, float] = field(repr=False)
    """The trace of each parameter's own diagonal block, by its name in the model; ``value`` is their sum."""
    per_sample: Tensor = field(repr=False)
    """[n], float64 on the CPU: tr(GGN) of each sample's loss alone."""


@dataclass(frozen=True, eq=False)
class SampledGaussNewtonTrace(GaussNewtonTrace):
    """What :func:`estimators.sampled_trace` found: all numbers are unbiased estimates of those of the exact trace.

    ``sampling_error`` holds both errors, of the samples and of the signs: with s / sqrt(n) of noisy contributions one
    cannot tell them apart.
    """

    standard_error: float
    """Of ``value`` as an estimate of tr(GGN) of *these* samples: the error of the random signs alone, from samples that
    were given several vectors."""
    vectors: int
    """Random vectors per sample; some samples got one more where this is 1."""

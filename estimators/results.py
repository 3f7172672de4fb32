"""What the estimators return: a value, its uncertainty, the numbers behind it and what it cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from estimators.trace.intervals import FEWEST_PROBES, MOST_DEGREES, Method, fewest_probes, half_width, variance_degrees


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
    """How far below the largest eigenvalue ``lambda_max`` is to be expected: the least of the residual, of
    residual^2 / gap with the gap to the next Ritz value, and of what is left to gain by how the last two steps went. In
    the units of ``lambda_max``; an estimate, no bound: on networks the true one was 0.6 to 2 times as large in half of
    the cases."""
    converged: bool
    """Is lambda_max within the tolerance? See :func:`estimators.lanczos` for what is known and what is not."""
    products: float
    """Products it took."""
    history: tuple[float, ...] = field(repr=False)
    """The largest Ritz value after each product on all samples."""
    vector: Tensor = field(repr=False)
    """[size], of unit length: the Ritz vector of lambda_max."""
    basis: Tensor = field(repr=False)
    """Q [size, k], orthonormal columns, k the number of products."""
    tridiagonal: Tensor = field(repr=False)
    """T = Q'AQ [k, k], float64 on the CPU; its eigenvalues are all Ritz values."""


@dataclass(frozen=True, eq=False)
class HutchinsonResult:
    """What :func:`estimators.trace.hutchinson` found. The trace is in units of the loss per squared parameter."""

    value: float
    """The mean of ``samples``: an unbiased estimate of the trace."""
    standard_error: float
    """The samples' standard deviation (n - 1 in the denominator) / sqrt(n); NaN for a single probe."""
    frobenius: float
    """Its square is an unbiased estimate of ||A||_F^2: the mean of ||A z||^2, with deflation of what stands for it."""
    products: float
    """Products it took, those behind the deflating basis not included."""
    samples: tuple[float, ...]
    """One unbiased estimate of the trace per probe."""
    squared_norms: tuple[float, ...]
    """||M z||^2 per probe, M the matrix that the probes see: A, or PAP with deflation."""
    variance: float
    """Of one sample, unbiased, from M z and not from the spread of the samples: 2 ||M||_F^2 for Gaussian probes,
    2 (||M||_F^2 - sum M_ii^2) for Rademacher probes. It is surer than ``standard_error``. NaN for a single probe."""

    @property
    def effective_rank(self) -> float:
        """trace(A)^2 / ||A||_F^2: of a semidefinite matrix of k equal eigenvalues k, of any between 1 and the rank.

        An indefinite matrix may have less than 1, down to zero. The numerator is unbiased, the ratio up to O(1 / n).
        NaN for a single probe and for a zero matrix.
        """
        if self.frobenius == 0.0:
            return math.nan
        squared = self.value**2 - self.variance / len(self.samples)
        return (squared if squared != squared else max(squared, 0.0)) / self.frobenius**2

    @property
    def too_few_probes(self) -> str | None:
        """Why Student's interval may hold the trace more or less often than it says; None where it does not."""
        count, (_, degrees) = len(self.samples), self.variance_of_mean("student")
        if count >= (fewest := fewest_probes(self.samples, degrees)):
            return None
        why = "" if fewest == FEWEST_PROBES else " where few eigenvalues of both signs make the trace"
        return f"{count} probes, expected {fewest} for Student's interval{why}: take those, or Chebyshev's"

    def interval(self, level: float = 0.95, method: Method = "student") -> tuple[float, float]:
        """(low, high), meant to hold the trace with probability ``level``.

        Both take their width from ``variance`` and allow for what is not known of it: few probes, or few eigenvalues
        that carry it. "student" supposes that the mean of the samples is nearly normal, and is too sure or too
        cautious with very few probes: see ``too_few_probes``. "chebyshev" supposes no distribution, takes the
        largest variance that there can be, 2 ||M||_F^2, and is at least twice as wide. A single probe says nothing:
        (-inf, inf).

        What neither can know: whether Rademacher probes have missed an eigenvector that lies on two or three
        parameters alone, which all of a few probes can be orthogonal to.

        Raises:
            ValueError: if level is outside (0, 1), or for another method.
        """
        half = half_width(*self.variance_of_mean(method), level, method)
        return self.value - half, self.value + half

    def variance_of_mean(self, method: Method) -> tuple[float, float]:
        """Behind the intervals: (variance of ``value``, as how many normal numbers tell it); (inf, 1) for one probe."""
        count = len(self.samples)
        if count == 1:
            return math.inf, 1.0
        variance = self.variance if method == "student" else 2.0 * math.fsum(self.squared_norms) / count
        return variance / count, variance_degrees(self.squared_norms, variance)

    def __repr__(self) -> str:
        warning = f", too_few_probes={self.too_few_probes!r}" if self.too_few_probes else ""
        return (
            f"HutchinsonResult(value={self.value}, standard_error={self.standard_error}, frobenius={self.frobenius},"
            f" products={self.products}{warning})"
        )


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


@dataclass(frozen=True, eq=False)
class HessianTrace:
    """What :func:`estimators.trace.hessian` found. Traces are in units of the loss per squared parameter."""

    value: float
    """tr(H): ``gauss_newton`` + ``difference``, unbiased where it is not exact."""
    exact: bool
    """Is ``value`` tr(H) to rounding? True where the network is proved to need no probes, and nothing was sampled."""
    reason: str
    """What makes tr(GGN) and tr(H) equal, or what may set them apart."""
    standard_error: float
    """Of ``value`` as the trace over these samples: that of the probes and that of the signs, if sampled, added in
    quadrature. 0.0 where exact, NaN with a single probe."""
    gauss_newton: float
    """tr(GGN), or its estimate if sampled."""
    difference: float
    """tr(H - GGN), estimated; 0.0 where none was needed."""
    products: float
    """Products it took, one a probe, beside ``gauss_newton_trace.backward_passes``."""
    samples: tuple[float, ...] = field(repr=False)
    """One unbiased estimate of ``difference`` per probe."""
    gauss_newton_trace: GaussNewtonTrace = field(repr=False)
    """Behind ``gauss_newton``: per parameter, per sample, with the error of the samples."""
    probes: HutchinsonResult | None = field(repr=False)
    """Behind ``difference``; None where none was needed."""

    def interval(self, level: float = 0.95, method: Method = "student") -> tuple[float, float]:
        """(low, high), meant to hold the trace with probability ``level``; see :meth:`HutchinsonResult.interval`.

        The signs' error, if sampled, is a mean over all samples and taken for known. No width where exact.

        Raises:
            ValueError: as there.
        """
        signs = self.gauss_newton_trace
        sampled = signs.standard_error**2 if isinstance(signs, SampledGaussNewtonTrace) else 0.0
        probed, degrees = (0.0, 1.0) if self.probes is None else self.probes.variance_of_mean(method)
        total = probed + sampled
        # Satterthwaite's degrees of a sum of variances of which only the first is unsure.
        degrees *= (total / probed) ** 2 if probed else MOST_DEGREES / degrees
        half = half_width(total, min(degrees, MOST_DEGREES), level, method)
        return self.value - half, self.value + half

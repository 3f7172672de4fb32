"""The trace of the Hessian of any network. It is exact if possible, otherwise probes estimate tr(H - GGN)."""

import math
from dataclasses import dataclass, field

import torch

from estimators.operators.functional import FunctionalHessianOperator
from estimators.operators.gauss_newton import GaussNewtonOperator
from estimators.operators.hessian import HessianOperator
from estimators.operators.random_vectors import Distribution
from estimators.problem.chunking import exact_trace_chunk_size
from estimators.trace.gauss_newton import SampledGaussNewtonTrace, exact_trace_of, sampled_trace_of
from estimators.trace.hutchinson import HutchinsonResult, check_probes, hutchinson
from estimators.trace.intervals import MAX_DEGREES_OF_FREEDOM, Method, half_width
from estimators.trace.trace_pass import GaussNewtonTrace


@dataclass(frozen=True, eq=False)
class HessianTrace:
    """Result of `estimators.hessian_trace`. Traces are in units of the loss per squared parameter."""

    value: float
    """tr(H) = ``gauss_newton`` + ``difference``; unbiased if not exact."""
    exact: bool
    """Whether ``value`` equals tr(H) up to rounding: tr(GGN) = tr(H) is proved and tr(GGN) was not sampled."""
    reason: str
    """Why tr(GGN) and tr(H) are equal, or why they may differ."""
    standard_error: float
    """Standard error of ``value`` as an estimate of the trace over these samples.

    It adds the errors of probes and sampled signs in quadrature. 0.0 if exact, NaN for a single probe."""
    gauss_newton: float
    """tr(GGN), exact or sampled."""
    difference: float
    """Estimate of tr(H - GGN); 0.0 if no probes were needed."""
    products: float
    """Products used, one per probe, in addition to ``gauss_newton_trace.backward_passes``."""
    samples: tuple[float, ...] = field(repr=False)
    """One unbiased estimate of ``difference`` per probe."""
    gauss_newton_trace: GaussNewtonTrace = field(repr=False)
    """The full result for tr(GGN), per parameter and per sample, with its sampling error."""
    probes: HutchinsonResult | None = field(repr=False)
    """The full result for ``difference``; None if no probes were needed."""

    def interval(self, level: float = 0.95, method: Method = "student") -> tuple[float, float]:
        """The confidence interval (low, high) of the trace at ``level``; see `HutchinsonResult.interval`.

        The uncertainty of the signs' standard error is neglected, because many samples determine it. The width is 0 if
        the trace is exact.

        Raises:
            ValueError: if level is outside (0, 1) or the method is unknown.
        """
        sampled = _standard_error_of_signs(self.gauss_newton_trace) ** 2
        probed, degrees = (0.0, 1.0) if self.probes is None else self.probes.variance_of_mean(method)
        total = probed + sampled
        # Satterthwaite's degrees of freedom for a sum of two variances; only the first variance is uncertain.
        degrees *= (total / probed) ** 2 if probed else MAX_DEGREES_OF_FREEDOM / degrees
        half = half_width(total, min(degrees, MAX_DEGREES_OF_FREEDOM), level, method)
        return self.value - half, self.value + half


def hessian_trace(
    op: HessianOperator,
    probes: int = 10,
    distribution: Distribution = "rademacher",
    sampled: bool = False,
    generator: torch.Generator | None = None,
) -> HessianTrace:
    """Computes tr(H) = tr(GGN) + tr(H - GGN). Probes estimate the second term unless it is known to be zero.

    If the network is piecewise linear in each single parameter, tr(H) = tr(GGN), so the result is exact and needs no
    probes (`estimators.exact_trace`). Otherwise z'(H - GGN)z is averaged over random probes z. Its variance is
    2 ||H - GGN||_F^2 for Gaussian probes. For Rademacher probes the diagonal does not contribute. The variance is small
    if the curvature comes from the loss rather than the network, for example near a minimum, where the gradient with
    respect to the outputs vanishes. Probes of H itself would have a variance of 2 ||H||_F^2.

    Costs an exact (or sampled) trace and one product per probe. The products are counted in ``op.products``.

    Args:
        op: the Hessian. Its model, loss, samples (or subset), chunk size and memory budget are used. On a CPU the exact
            trace uses two thirds of the chunk size.
        probes: at least 1, if any are needed; a standard error needs 2.
        distribution: distribution of the probes, "rademacher" or "gaussian".
        sampled: whether to estimate tr(GGN) by `estimators.sampled_trace`, for about the cost of one gradient. The
            standard error includes the error of this estimate.
        generator: draws first the signs, if sampled, and then the probes. None: torch's global CPU generator.

    Raises:
        ValueError: if op is not a HessianOperator, if the loss uses parameters directly (a weight penalty), or as in
            `estimators.hutchinson` and `estimators.exact_trace`.

    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> op = HessianOperator(model, torch.nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> trace = hessian_trace(op)
    >>> trace.exact, trace.standard_error, trace.products
    (True, 0.0, 0.0)
    """
    if not isinstance(op, HessianOperator) or isinstance(op, GaussNewtonOperator | FunctionalHessianOperator):
        raise ValueError(
            f"op is a {type(op).__name__}, expected a HessianOperator, which has a model, loss and data: pass one, or"
            " use exact_trace for tr(GGN) and hutchinson for any other matrix"
        )
    # Checked even if no probes are needed, and before the exact trace is computed.
    check_probes(probes, distribution)
    gauss_newton = (
        sampled_trace_of(op.problem, op.chunk_size, 1, generator)
        if sampled
        else exact_trace_of(op.problem, exact_trace_chunk_size(op.chunk_size, op.device))
    )
    functional = FunctionalHessianOperator.like(op)
    found = None if gauss_newton.exact else hutchinson(functional, probes, distribution, generator=generator)
    difference, error, products = (found.value, found.standard_error, found.products) if found else (0.0, 0.0, 0.0)
    return HessianTrace(
        value=gauss_newton.value + difference,
        exact=gauss_newton.exact and not sampled,
        reason=gauss_newton.reason,
        standard_error=math.hypot(_standard_error_of_signs(gauss_newton), error),
        gauss_newton=gauss_newton.value,
        difference=difference,
        products=products,
        samples=found.samples if found else (),
        gauss_newton_trace=gauss_newton,
        probes=found,
    )


def _standard_error_of_signs(trace: GaussNewtonTrace) -> float:
    return trace.standard_error if isinstance(trace, SampledGaussNewtonTrace) else 0.0

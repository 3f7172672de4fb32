"""The trace of the Hessian of any network: exact where it can be, with probes for what the network itself curves."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from estimators.operators.functional import FunctionalHessianOperator
from estimators.operators.gauss_newton import GaussNewtonOperator
from estimators.operators.hessian import HessianOperator
from estimators.operators.random_vectors import Distribution
from estimators.problem.chunking import chunk_size_beside_columns
from estimators.problem.samples import Pair
from estimators.trace.gauss_newton import SampledGaussNewtonTrace, exact_trace, sampled_trace
from estimators.trace.hutchinson import HutchinsonResult, hutchinson
from estimators.trace.intervals import MOST_DEGREES, Method, half_width
from estimators.trace.trace_pass import GaussNewtonTrace


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


def hessian_trace(
    op: HessianOperator,
    probes: int = 10,
    distribution: Distribution = "rademacher",
    sampled: bool = False,
    generator: torch.Generator | None = None,
) -> HessianTrace:
    """tr(H) = tr(GGN) + tr(H - GGN): the first exactly, the second zero where the network allows, else by probes.

    Where the network is piecewise linear in each single parameter tr(H) = tr(GGN), no probe is spent and the result is
    exact (:func:`estimators.exact_trace`). Else z'(H - GGN)z is averaged over random probes z. Its variance is
    2 ||H - GGN||_F^2, less the diagonal's share with Rademacher probes, where probes of H have 2 ||H||_F^2: less the
    more the loss, not the network, makes the curvature, as near a minimum, where the gradient in the outputs vanishes.

    Costs what the exact trace does, and one product a probe, counted in ``op.products``.

    Args:
        op: the Hessian: its model, loss, samples (a subset's, too), chunk size (on a CPU two thirds of it for the exact
            trace) and memory budget are used.
        probes: at least 1, where any are needed; a standard error needs 2.
        distribution: of the probes, "rademacher" or "gaussian".
        sampled: tr(GGN) by :func:`estimators.sampled_trace` for about the price of one gradient, its error included.
        generator: the stream of the signs, if sampled, then of the probes; None: torch's global CPU stream.

    Raises:
        ValueError: for another operator than a Hessian; as hutchinson and exact_trace.

    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    >>> op = HessianOperator(model, torch.nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> trace = hessian_trace(op)
    >>> trace.exact, trace.standard_error, trace.products
    (True, 0.0, 0.0)
    """
    _check(op, probes, distribution)
    difference = FunctionalHessianOperator.like(op)
    gauss_newton = _gauss_newton_trace(difference, sampled, generator)
    error = gauss_newton.standard_error if isinstance(gauss_newton, SampledGaussNewtonTrace) else 0.0
    found = None if gauss_newton.exact else hutchinson(difference, probes, distribution, generator=generator)
    return HessianTrace(
        value=gauss_newton.value + (0.0 if found is None else found.value),
        exact=gauss_newton.exact and not sampled,
        reason=gauss_newton.reason,
        standard_error=math.hypot(error, 0.0 if found is None else found.standard_error),
        gauss_newton=gauss_newton.value,
        difference=0.0 if found is None else found.value,
        products=0.0 if found is None else found.products,
        samples=() if found is None else found.samples,
        gauss_newton_trace=gauss_newton,
        probes=found,
    )


def _gauss_newton_trace(
    op: FunctionalHessianOperator, sampled: bool, generator: torch.Generator | None
) -> GaussNewtonTrace:
    if sampled:
        chunks = _Chunks(op, op.chunk_size)
        return sampled_trace(op.model, op.loss_fn, chunks, generator=generator, chunk_size=chunks.size)
    chunks = _Chunks(op, chunk_size_beside_columns(op.chunk_size, op.device))
    return exact_trace(op.model, op.loss_fn, chunks, chunk_size=chunks.size)


@dataclass(frozen=True)
class _Chunks:
    """An operator's samples as batches, chunk by chunk: no more of them than one at a time on the device."""

    op: FunctionalHessianOperator
    size: int

    def __iter__(self) -> Iterator[Pair]:
        return self.op.chunks(self.size)


def _check(op: HessianOperator, probes: int, distribution: str) -> None:
    if not isinstance(op, HessianOperator) or isinstance(op, GaussNewtonOperator | FunctionalHessianOperator):
        raise ValueError(
            f"op is a {type(op).__name__}, expected a HessianOperator, which knows its model, loss and data: pass one,"
            " or take exact_trace for tr(GGN), hutchinson for any other matrix"
        )
    # Before the trace is spent on them, and whether the network needs probes or not.
    if probes < 1:
        raise ValueError(f"probes is {probes}, expected at least 1, and 2 for a standard error: 10 is usual")
    if distribution not in ("gaussian", "rademacher"):
        raise ValueError(f'distribution is {distribution!r}, expected "gaussian" or "rademacher"')

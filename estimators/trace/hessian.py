"""The trace of the Hessian of any network: exact where it can be, with probes for what the network itself curves."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from estimators.operators.functional import FunctionalHessianOperator
from estimators.operators.gauss_newton import GaussNewtonOperator
from estimators.operators.hessian import HessianOperator
from estimators.operators.random_vectors import Distribution
from estimators.problem.chunking import chunk_size_beside_columns
from estimators.problem.samples import Pair
from estimators.results import GaussNewtonTrace, HessianTrace, SampledGaussNewtonTrace
from estimators.trace.gauss_newton import exact_trace, sampled_trace
from estimators.trace.hutchinson import hutchinson


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
    difference = FunctionalHessianOperator.beside(op)
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

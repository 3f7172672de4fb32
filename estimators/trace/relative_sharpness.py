"""A trace that does not change if the layers of a ReLU network are rescaled."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.operators.functional import FunctionalHessianOperator
from estimators.operators.hessian import HessianOperator
from estimators.operators.transformed.preconditioned import PreconditionedOperator
from estimators.problem.chunking import exact_trace_chunk_size
from estimators.trace.gauss_newton import exact_trace_of
from estimators.trace.hutchinson import hutchinson
from estimators.trace.trace_pass import GaussNewtonTrace

_SMALLEST = 1e-6
"""Smallest norm of a parameter, relative to the largest. Zero biases count as this."""


@dataclass(frozen=True, eq=False)
class RelativeSharpness:
    """Result of `estimators.relative_sharpness`, in units of the loss."""

    value: float
    """sum over parameter tensors w of ||w||^2 tr(H_ww)."""
    exact: bool
    """Whether the value is exact up to rounding."""
    standard_error: float
    """Standard error over probes; 0.0 if exact, NaN for a single probe."""
    products: float
    """Products used, one per probe."""
    per_parameter: dict[str, float] = field(repr=False)
    """||w||^2 tr(G_ww) of each parameter, with the Gauss-Newton matrix G. They add up to the value if it is exact."""


def relative_sharpness(
    op: HessianOperator,
    probes: int = 10,
    generator: torch.Generator | None = None,
    gauss_newton: GaussNewtonTrace | None = None,
) -> RelativeSharpness:
    """Computes the sum over parameter tensors w of ||w||^2 tr(H_ww), with the diagonal block H_ww of each.

    Multiplying one layer of a ReLU network by a factor and dividing the next one by it changes neither the function nor
    this value, although it changes lambda_max and the trace (Dinh et al., 2017; Petzka et al., 2021). It is exact where
    the trace is (see `estimators.hessian_trace`). Otherwise probes estimate the part of H - G. Costs an exact trace.

    Args:
        op: the Hessian.
        probes: at least 1, if any are needed; a standard error needs 2.
        generator: draws the probes. None: torch's global CPU generator.
        gauss_newton: the exact Gauss-Newton trace of the same weights and samples, if it is known.

    Raises:
        ValueError: as `estimators.exact_trace` and `estimators.hutchinson`.

    >>> from torch import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 3.0)
    >>> op = HessianOperator(model, nn.functional.mse_loss, (torch.ones(8, 1), torch.zeros(8, 1)))
    >>> round(relative_sharpness(op).value, 4)
    18.0
    """
    norms = {name: float(torch.linalg.vector_norm(w.detach().double())) for name, w in op.problem.parameters.items()}
    trace = gauss_newton or exact_trace_of(op.problem, exact_trace_chunk_size(op.chunk_size, op.device))
    weighted = {name: norms[name] ** 2 * part for name, part in trace.per_parameter.items()}
    value = sum(weighted.values())
    if trace.exact:
        return RelativeSharpness(value, True, 0.0, 0.0, weighted)
    scaled = PreconditionedOperator(FunctionalHessianOperator.like(op), _inverse_squares(op, norms))
    difference = hutchinson(scaled, probes, "rademacher", generator=generator)
    total = value + difference.value
    return RelativeSharpness(total, False, difference.standard_error, difference.products, weighted)


def _inverse_squares(op: HessianOperator, norms: dict[str, float]) -> Tensor:
    """1 / ||w||^2 for every entry [size]: the preconditioner in whose geometry the trace is weighted by ||w||^2."""
    least = _SMALLEST * max(norms.values()) or 1.0
    parts = [
        torch.full((parameter.numel(),), max(norms[name], least) ** -2.0)
        for name, parameter in op.problem.parameters.items()
    ]
    return torch.cat(parts).to(op.device, op.dtype)

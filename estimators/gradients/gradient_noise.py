"""The trace of the covariance of per-sample gradients."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from estimators.per_sample.norms import SampleNorms
from estimators.problem.checks import LossFunction, check_deterministic, check_mode, evaluate_loss, evaluate_model
from estimators.problem.loss.mean_check import MeanCheck
from estimators.problem.loss.targets import check_targets
from estimators.problem.problem import Problem
from estimators.problem.samples import Batches, Pair


@dataclass(frozen=True, eq=False)
class GradientNoiseTrace:
    """Result of `estimators.gradient_noise_trace`, in units of the squared loss per squared parameter."""

    value: float
    """sum over the n samples of ||g_i - g||^2, divided by n - 1; NaN for one sample."""
    standard_error: float
    """Standard error of ``value`` for samples drawn independently from a distribution: s / sqrt(n).

    s is the standard deviation of ``squared_distances``. NaN for fewer than 3 samples."""
    gradient_norm: float
    """||g|| of the mean gradient g over the samples."""
    squared_distances: Tensor = field(repr=False)
    """[n], float64 on the CPU: ||g_i - g||^2 of each sample."""


def gradient_noise_trace(
    model: nn.Module, loss_fn: LossFunction, batches: Batches, chunk_size: int | None = None
) -> GradientNoiseTrace:
    """Estimates the trace of the covariance of per-sample gradients g_i, without bias.

    The covariance of the mean gradient of b samples, drawn with replacement, is 1/b of this covariance (McCandlish et
    al., 2018). Per-sample gradients are not formed: ||g_i - g||^2 = ||g_i||^2 - 2 g_i'g + ||g||^2, with norms as in
    `estimators.exact_trace` and g_i'g from a directional derivative. Costs about 10 forward passes. If the noise is
    small compared with the mean gradient, the terms cancel, with a rounding error of about eps ||g||^2. Model, random
    streams and flags are left bitwise unchanged.

    Args:
        model: in the mode to be measured; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples.
        batches: an (inputs, targets) pair of tensors, or a re-iterable of such pairs in a fixed order. How samples are
            divided into batches does not matter.
        chunk_size: maximum number of samples at a time. None: the default of `estimators.HessianOperator`.

    Raises:
        ValueError: if model, loss or data cannot be measured; the message names the fix.

    >>> data = torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(3, 1)
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> round(gradient_noise_trace(model, nn.functional.mse_loss, data).value, 3)
    65.333
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}, expected at least 1, or None for a default")
    problem = Problem.of(model, loss_fn, batches)
    check_mode(problem.model)
    with problem.measuring():
        chunk_size = chunk_size or problem.default_chunk_size()
        check_deterministic(problem.model, problem.loss_fn, *problem.first(chunk_size))
        problem.check_loss_of_outputs()
        norms, gradient = _norms_and_gradient(problem, chunk_size)
        products = torch.cat([_products(problem, chunk, gradient) for chunk in problem.chunks(chunk_size)])
        mean = gradient.double()
        squared = torch.dot(mean, mean)
        distances = (norms - 2.0 * products + squared).clamp(min=0.0).cpu()
    return _result(distances, math.sqrt(float(squared)))


def _norms_and_gradient(problem: Problem, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Squared norms [n] of per-sample gradients, and their mean [size]."""
    plan, check = SampleNorms(problem.model, problem.parameters, problem.first(2)[0]), MeanCheck(problem.loss_fn)
    norms: list[Tensor] = []
    total = torch.zeros(problem.size, dtype=problem.dtype, device=problem.device)
    for inputs, targets in problem.chunks(chunk_size):
        chunk = plan.chunk(inputs)
        column = _output_gradients(problem, chunk.outputs, targets)
        check.add(chunk.outputs, targets)
        norms.append(torch.stack(list(chunk.summed([(column, 1.0)], count=1).values())).sum(dim=0))
        total += problem.flat_gradient((chunk.outputs * column).sum()) / problem.count
    check.conclude()
    return torch.cat(norms), total


def _output_gradients(problem: Problem, outputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each sample's loss with respect to its outputs, [n, ...]."""
    check_targets(problem.loss_fn, outputs, targets)
    leaf = outputs.detach().requires_grad_()
    loss = evaluate_loss(problem.precise_loss(leaf, targets), leaf, targets)
    if not loss.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf, materialize_grads=True)
    return gradient * len(outputs)


def _products(problem: Problem, chunk: Pair, gradient: Tensor) -> Tensor:
    """g_i'g of each sample [n], float64: the derivative of its loss along g."""
    inputs, targets = chunk
    with problem.fast_kernels():
        outputs = evaluate_model(problem.model, inputs)
    column = _output_gradients(problem, outputs, targets)
    # J'u is linear in u, so its derivative with respect to u is the product with J (double backward).
    direction = torch.zeros_like(outputs, requires_grad=True)
    transposed = problem.flat_gradient((outputs * direction).sum(), create_graph=True)
    if not transposed.requires_grad:
        return torch.zeros(len(outputs), dtype=torch.float64, device=outputs.device)
    (tangents,) = torch.autograd.grad(torch.dot(transposed, gradient), direction, materialize_grads=True)
    return (tangents.double() * column.double()).reshape(len(outputs), -1).sum(dim=1)


def _result(distances: Tensor, gradient_norm: float) -> GradientNoiseTrace:
    count = len(distances)
    return GradientNoiseTrace(
        value=math.fsum(distances.tolist()) / (count - 1) if count > 1 else math.nan,
        standard_error=float(distances.std()) / math.sqrt(count) if count > 2 else math.nan,
        gradient_norm=gradient_norm,
        squared_distances=distances,
    )

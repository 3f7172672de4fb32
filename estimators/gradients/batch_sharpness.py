"""Batch sharpness: the curvature of minibatch losses along their own gradients."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import stdev

from torch import nn

from estimators.gradients.gradient_curvature import gradient_curvature
from estimators.gradients.skewed_mean import MIN_SAMPLES, skewed_mean_interval
from estimators.operators.hessian import HessianOperator
from estimators.problem.checks import LossFunction
from estimators.problem.samples import Batches, Samples


@dataclass(frozen=True, eq=False)
class BatchSharpness:
    """Result of `estimators.batch_sharpness`, in units of the loss per squared parameter."""

    value: float
    """The mean of ``samples``."""
    standard_error: float
    """Standard deviation of the samples (with n - 1), divided by sqrt(n). NaN for a single minibatch.

    Valid for independent minibatches. For disjoint minibatches that use a fraction f of all samples, the true standard
    error is smaller by a factor between about sqrt(1 - f) and 1."""
    products: float
    """Products used: 1.0, since each minibatch is multiplied once."""
    samples: tuple[float, ...]
    """g_B'H_B g_B / ||g_B||^2 of each minibatch B."""

    @property
    def too_few_batches(self) -> str | None:
        """Why the coverage of the interval may be below its level; None if there are enough minibatches."""
        count = len(self.samples)
        if count >= MIN_SAMPLES:
            return None
        return f"expected at least {MIN_SAMPLES} minibatches for the interval, got {count}: pass more batches"

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The confidence interval (low, high) of the mean over all minibatches, corrected for skewness (Hall, 1992).

        It is not symmetric about ``value``, because samples are skewed to the right. The coverage at 95% was 93% to 96%
        with 20 and more independent minibatches, 92% to 97% with 10 and 91% to 95% with 5 (benchmarks/README.md); see
        ``too_few_batches``. NaN if the gradient of a minibatch is zero.

        Raises:
            ValueError: if level is outside (0, 1) or there is only one minibatch.
        """
        if len(self.samples) < 2:
            raise ValueError("there is 1 minibatch, expected at least 2 for an interval: pass more batches")
        return skewed_mean_interval(self.samples, level)

    def __repr__(self) -> str:
        warning = f", too_few_batches={self.too_few_batches!r}" if self.too_few_batches else ""
        return (
            f"BatchSharpness(value={self.value}, standard_error={self.standard_error}, products={self.products}"
            f"{warning})"
        )


def batch_sharpness(
    model: nn.Module, loss_fn: LossFunction, batches: Batches, *, validate: bool = True
) -> BatchSharpness:
    """Estimates E_B[g_B'H_B g_B / ||g_B||^2], with gradient g_B and Hessian H_B of the mean loss of a minibatch B.

    Stochastic gradient descent settles where this mean, not lambda_max, is 2 / lr (Andreyev and Beneventano, 2024,
    arXiv:2412.20553). It is the mean of the ratios, not the ratio of the means, which is different. With one
    minibatch of all samples it is `estimators.gradient_curvature`. Costs a gradient and a product per minibatch, 9
    forward passes over the data; minibatches above the default chunk size are differentiated in chunks. Model, random
    streams and flags are left bitwise unchanged.

    Args:
        model: in the mode to be measured; no active dropout, no batch norm in train mode.
        loss_fn: ``loss_fn(outputs, targets)``, a mean over samples.
        batches: the minibatches, a re-iterable of (inputs, targets) pairs. Draw them as in training, at random and of
            equal size; leave out a partial last batch. A single pair is one minibatch.
        validate: as for `estimators.HessianOperator`.

    Returns:
        The mean over minibatches. It is NaN if the gradient of one is zero, since its ratio is undefined.

    Raises:
        ValueError: if model, loss or data cannot be measured; the message names the fix.

    >>> import torch
    >>> model = nn.Linear(1, 1, bias=False)
    >>> batches = [(torch.full((4, 1), scale), torch.zeros(4, 1)) for scale in (1.0, 2.0, 3.0)]
    >>> found = batch_sharpness(model, nn.functional.mse_loss, batches)
    >>> round(found.value, 3), [round(sample, 3) for sample in found.samples]
    (9.333, [2.0, 8.0, 18.0])
    """
    whole = HessianOperator(model, loss_fn, batches, validate=validate)
    samples = tuple(gradient_curvature(op) for op in _by_batch(whole))
    count = len(samples)
    finite = all(map(math.isfinite, samples))
    return BatchSharpness(
        value=math.fsum(samples) / count if finite else math.nan,
        standard_error=stdev(samples) / math.sqrt(count) if finite and count > 1 else math.nan,
        products=whole.products,
        samples=samples,
    )


def _by_batch(whole: HessianOperator) -> Iterator[HessianOperator]:
    """The Hessian of each minibatch."""
    for batch in whole.problem.samples.batches():
        samples = Samples(batch)
        problem = replace(whole.problem, samples=samples, count=samples.count)
        yield whole._view(HessianOperator, problem, whole.chunk_size)

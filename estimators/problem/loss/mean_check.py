"""Checks that a loss is a mean over samples, so that chunks can be weighted by their number of samples."""

import math
import warnings
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from estimators.problem.checks import LossFunction, evaluate_loss
from estimators.problem.loss.loss_precision import Float64Loss
from estimators.problem.samples import Pair

# A mean loss and the mean over single samples may differ by rounding, relative to the mean absolute loss of a sample.
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
# Rounding of small losses, which may be differences of large numbers.
_ROUNDING = {torch.float32: 1.2e-7, torch.float64: 2e-14}
# The same for gradients with respect to the outputs, relative to the largest entry. If a network fits its data, they
# are differences of numbers close to 1. Weights of samples change them by far more.
_GRADIENT_TOLERANCE, _GRADIENT_ROUNDING = 1e-4, {torch.float32: 1e-5, torch.float64: 2e-14}


class MeanCheck:
    """Checks that the loss of each chunk is the mean of the losses of its single samples.

    Losses are compared, and their gradients with respect to the outputs: if all samples have equal losses, as with zero
    outputs, a weighted mean has the same value. They are evaluated in float64 if the loss accepts it, because small
    losses are lost in float32.

    Each chunk is checked together with the last sample of the previous chunk if their shapes fit, because a chunk of
    one sample proves nothing. Losses that are not finite pass: the result will be NaN, which is correct. `add` does not
    synchronize with the device; `conclude` does.
    """

    def __init__(self, loss_fn: LossFunction) -> None:
        self._loss_fn = loss_fn
        self._last: Pair | None = None
        # [chunk loss, mean of single losses, relative change of gradients] of the first violation; NaN if none.
        self._violation: Tensor | None = None

    @torch.no_grad()
    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Checks one more chunk: outputs [n, ...] and targets [n, ...]."""
        outputs = outputs.detach()
        if self._last is not None and _fit(self._last, (outputs, targets)):
            outputs, targets = torch.cat([self._last[0], outputs]), torch.cat([self._last[1], targets])
        self._last = outputs[-1:], targets[-1:]
        try:
            compared = _Compared.of(Float64Loss(self._loss_fn), outputs, targets)
        except Exception:  # Not every loss accepts float64. Errors of the loss itself are raised again here.
            compared = _Compared.of(self._loss_fn, outputs, targets)
        found = compared.violation(_tolerance(_TOLERANCE, outputs.dtype))
        if self._violation is None:
            self._violation = found
        else:
            # In a violation the mean may be NaN (an ignored target), but the loss is never NaN.
            self._violation = torch.where(self._violation[0].isnan(), found, self._violation)

    def conclude(self) -> None:
        """Raises ValueError if a chunk's loss was not the mean over its samples. Synchronizes with the device."""
        if self._violation is None or math.isnan(self._violation[0].item()):
            return
        loss, mean, change = self._violation.tolist()
        raise ValueError(
            f"the loss of a chunk is {loss:.6g} and the mean of the losses of its single samples {mean:.6g} (their"
            f" gradients differ by a relative {change:.2g}), expected equal ones: loss_fn must be a mean over samples."
            ' Usual reasons: reduction="sum", class weights, ignore_index, or a loss that compares samples. Divide a'
            ' sum by len(targets); multiply weighted or masked per-sample losses (reduction="none") and take their'
            " .mean()"
        )


def check_mean(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> None:
    """Raises ValueError if the loss of one chunk is not the mean over its samples."""
    check = MeanCheck(loss_fn)
    check.add(outputs, targets)
    check.conclude()


@dataclass(frozen=True, eq=False)
class _Compared:
    """Losses and gradients with respect to the outputs: of a chunk, and of each of its n samples evaluated alone."""

    loss: Tensor
    gradient: Tensor
    """n times the gradient of the chunk's loss [n, ...]."""
    losses: Tensor
    """Losses of the samples [n]."""
    gradients: Tensor
    """Gradients of these losses [n, ...]."""

    @classmethod
    def of(cls, loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> "_Compared":
        """Evaluates the loss of the chunk and of its samples."""
        loss, gradient = _loss_and_gradient(loss_fn, outputs, targets)
        losses, gradients = _sample_losses_and_gradients(loss_fn, outputs.unsqueeze(1), targets.unsqueeze(1))
        return cls(loss, len(outputs) * gradient, losses, gradients.reshape(outputs.shape))

    def violation(self, tolerance: float) -> Tensor:
        """[chunk loss, mean of single losses, relative change of gradients]; NaN if the loss is a mean over samples."""
        mean, dtype = self.losses.mean(), self.loss.dtype
        same_loss = (self.loss - mean).abs() <= tolerance * self.losses.abs().mean() + _tolerance(_ROUNDING, dtype)
        change, size = (self.gradient - self.gradients).abs().max(), self.gradients.abs().max()
        same_gradient = change <= _GRADIENT_TOLERANCE * size + _tolerance(_GRADIENT_ROUNDING, dtype)
        # Gradients of finite losses may be infinite.
        same_gradient |= ~(change.isfinite() & size.isfinite())
        holds = ~torch.isfinite(self.loss) | (same_loss & same_gradient)
        return torch.where(holds, math.nan, torch.stack([self.loss, mean, (change / size).to(mean.dtype)]))


def _fit(first: Pair, second: Pair) -> bool:
    """Whether samples of two pairs can be joined to one batch."""
    return all(a.shape[1:] == b.shape[1:] for a, b in zip(first, second, strict=True))


def _loss_and_gradient(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        loss = evaluate_loss(loss_fn, leaf, targets)
        gradient = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
    return loss.detach(), torch.zeros_like(outputs) if gradient is None else gradient


def _sample_losses_and_gradients(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [n] and their gradients [n, 1, ...], for outputs and targets [n, 1, ...]."""
    derivatives = torch.func.grad_and_value(partial(evaluate_loss, loss_fn))
    try:
        with warnings.catch_warnings():
            # vmap warns that it replaces some operations by a loop.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            gradients, losses = torch.func.vmap(derivatives)(outputs, targets)
    except Exception:  # vmap does not support every loss. Errors of the loss itself are raised again here.
        pairs = [_loss_and_gradient(loss_fn, *pair) for pair in zip(outputs, targets, strict=True)]
        losses, gradients = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    return losses, gradients


def _tolerance(tolerances: dict[torch.dtype, float], dtype: torch.dtype) -> float:
    return tolerances.get(dtype, max(tolerances.values()))

"""Losses that use the model's parameters directly and not through the outputs, such as a weight penalty."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from estimators.problem.checks import LossFunction
from estimators.problem.memory_format import relative_rounding

# Number of samples compared.
_SAMPLES = 4


def check_uses_no_parameters(
    loss_fn: LossFunction, outputs: Tensor, targets: Tensor, parameters: Mapping[str, Tensor]
) -> None:
    """Raises ValueError if the loss uses a parameter directly: the Gauss-Newton matrix would leave that part out."""
    gradients = _direct_gradients(loss_fn, outputs, targets, list(parameters.values()))
    used = [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
    if used:
        raise ValueError(
            f"loss_fn uses parameter {used[0]} directly, as a weight penalty does, expected a function of outputs and"
            " targets only, since the Gauss-Newton matrix omits other parts: remove the penalty from loss_fn and add"
            " its own Hessian (c * ||w||^2 adds 2 * c per parameter to a trace), or use a HessianOperator with"
            " lanczos and hutchinson"
        )


def check_differentiable(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> None:
    """Raises ValueError if the loss changes with the outputs, but autograd gives it no first or second derivative.

    A loss that does not depend on the outputs, or is linear in them, passes.
    """
    leaf = outputs.detach().requires_grad_()
    loss = loss_fn(leaf, targets).reshape(())
    changed = [float(loss_fn(factor * leaf.detach(), targets)) for factor in (1.0, 1.5, 0.5)]
    if not loss.requires_grad:
        if len(set(changed)) == 1 or any(math.isnan(value) for value in changed):
            return
        raise ValueError(
            f"loss_fn changed from {changed[0]:.6g} to {changed[1]:.6g} with the outputs but has no gradient, expected"
            " a differentiable loss: remove detach(), .item(), argmax and torch.no_grad() from it"
        )
    try:
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True, materialize_grads=True)
        if gradient.requires_grad:
            torch.autograd.grad(gradient.sum(), leaf, allow_unused=True)
    except RuntimeError as error:
        raise ValueError(
            f"loss_fn has no second derivative with respect to the outputs ({error}), expected a loss that autograd"
            " differentiates twice: write it with torch operations that have one"
        ) from error


def check_penalty_is_mean(
    loss_fn: LossFunction, outputs: Tensor, targets: Tensor, parameters: Mapping[str, Tensor]
) -> None:
    """Raises ValueError if the part of the loss that uses parameters directly depends on the number of samples.

    It may be far smaller than the loss and still dominate a trace, so the check of the mean loss can miss it.
    """
    tensors = list(parameters.values())
    outputs, targets = outputs[:_SAMPLES], targets[:_SAMPLES]
    if len(outputs) == 1:
        outputs, targets = torch.cat([outputs, outputs]), torch.cat([targets, targets])
    whole = _direct_gradients(loss_fn, outputs, targets, tensors)
    if all(gradient is None for gradient in whole):
        return
    pairs = zip(outputs.split(1), targets.split(1), strict=True)
    singles = [_direct_gradients(loss_fn, *pair, tensors) for pair in pairs]
    found = _flat(whole, tensors)
    expected = torch.stack([_flat(gradients, tensors) for gradients in singles]).mean(dim=0)
    difference, size = float((found - expected).norm()), float(expected.norm())
    if difference > relative_rounding(found.dtype) * size:
        raise ValueError(
            f"the part of loss_fn that uses parameters directly has a gradient of length {float(found.norm()):.6g} for"
            f" {len(outputs)} samples and {size:.6g} in the mean over single samples, expected equal ones: loss_fn must"
            " be a mean over samples plus a penalty that does not depend on the number of samples"
        )


def _direct_gradients(
    loss_fn: LossFunction, outputs: Tensor, targets: Tensor, parameters: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Gradients of the loss at constant outputs. None for parameters that the loss does not use."""
    loss = loss_fn(outputs.detach(), targets).reshape(())
    if not loss.requires_grad:
        return [None] * len(parameters)
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def _flat(gradients: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    parts = [torch.zeros_like(p) if g is None else g.to_dense() for g, p in zip(gradients, like, strict=True)]
    return torch.cat([part.reshape(-1) for part in parts])

"""Evaluates a loss in float64 if float32 is too coarse for its second derivatives.

Cross-entropy computes p - 1 for the probability p of the target. Once a network fits its data, p rounds to 1 in float32
and the curvature p (1 - p) is lost, although the outputs still determine it. The same holds for sigmoids. The outputs
are then converted to float64 for the loss only, which costs next to nothing. Gradients with respect to the outputs are
float32 again, with a small relative error.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from estimators.problem.checks import LossFunction

# Float64 is used if rounding in float32 changes the second derivatives of a chunk's loss by more than this, relative to
# their norm. At this bound lambda_max and traces are off by about a fifth of it, close to the rounding of the network
# itself (1e-6 for a cross-entropy from 0.3 to 1e-11), and the cross-entropy is about 3e-3.
_VISIBLE = 1e-5


@dataclass(frozen=True)
class Float64Loss:
    """A loss evaluated in float64."""

    loss_fn: LossFunction

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a chunk, in float64 unless ``loss_fn`` returns another dtype."""
        pair = outputs.double(), targets.double() if targets.is_floating_point() else targets
        buffers = dict(self.loss_fn.named_buffers()) if isinstance(self.loss_fn, nn.Module) else {}
        if not buffers:
            return self.loss_fn(*pair)
        # Such as class weights.
        double = {name: buffer.double() for name, buffer in buffers.items() if buffer.is_floating_point()}
        loss: Tensor = functional_call(self.loss_fn, double, pair)  # type: ignore[arg-type]
        return loss


def needs_float64(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> bool:
    """Whether rounding of float32 outputs [n, ...] in the loss is visible. Synchronizes with the device.

    False for a loss that does not accept float64 or has no second derivatives.
    """
    if outputs.dtype != torch.float32:
        return False
    # A vector in output space, without drawing random numbers.
    vector = torch.arange(1, outputs.numel() + 1, dtype=outputs.dtype, device=outputs.device).cos()
    vector = vector.reshape(outputs.shape)
    try:
        found, exact = (
            _product_with_hessian(loss, outputs, targets, vector) for loss in (loss_fn, Float64Loss(loss_fn))
        )
    except Exception:  # Errors of the loss itself are raised when it is evaluated.
        return False
    return bool(torch.linalg.vector_norm(found - exact) > _VISIBLE * torch.linalg.vector_norm(exact))


def _product_with_hessian(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, vector: Tensor) -> Tensor:
    """Product of the loss's Hessian with respect to the outputs with a vector, in float64."""
    leaf = outputs.detach().requires_grad_()
    product = None
    loss = loss_fn(leaf, targets)
    if loss.requires_grad:
        (gradient,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss), create_graph=True, allow_unused=True)
        if gradient is not None and gradient.requires_grad:
            (product,) = torch.autograd.grad(gradient, leaf, vector, allow_unused=True)
    return torch.zeros_like(outputs, dtype=torch.float64) if product is None else product.double()

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
# their norm. This happens for a cross-entropy below about 3e-3. At the bound, lambda_max and traces are off by about
# 2e-6. The rounding of the network itself causes 1e-6, for a cross-entropy from 0.3 to 1e-11.
_VISIBLE = 1e-5
# Outputs that are compared at a time. A vocabulary of 50,000 and 64 tokens have 3 million outputs per sample.
_NUMBERS = 2**22


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
        # Buffers such as class weights must be float64, too.
        double = {name: buffer.double() for name, buffer in buffers.items() if buffer.is_floating_point()}
        loss: Tensor = functional_call(self.loss_fn, double, pair)  # type: ignore[arg-type]
        return loss


def needs_float64(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> bool:
    """Whether rounding of float32 outputs [n, ...] in the loss is visible. Synchronizes with the device.

    False for a loss that does not accept float64 or has no second derivatives.
    """
    if outputs.dtype != torch.float32:
        return False
    samples = max(1, _NUMBERS // max(1, outputs[0].numel()))
    squares = torch.zeros(2, dtype=torch.float64, device=outputs.device)
    first = 1
    try:
        for part, wanted in zip(outputs.split(samples), targets.split(samples), strict=True):
            # A vector in output space, without drawing random numbers.
            vector = torch.arange(first, first + part.numel(), dtype=part.dtype, device=part.device).cos()
            squares += _squares(loss_fn, part, wanted, vector.reshape(part.shape))
            first += part.numel()
    except Exception:  # Errors of the loss itself are raised when it is evaluated.
        return False
    change, size = squares.sqrt()
    return bool(change > _VISIBLE * size)


def _squares(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, vector: Tensor) -> Tensor:
    """Squared norms of the rounding of a product with the loss's Hessian, and of the product."""
    found, exact = (_product_with_hessian(loss, outputs, targets, vector) for loss in (loss_fn, Float64Loss(loss_fn)))
    return torch.stack([torch.linalg.vector_norm(found - exact), torch.linalg.vector_norm(exact)]).square()


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

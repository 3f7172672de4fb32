"""The rise of the loss along its gradient."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from orchestrator.study.quantities.settings.sam_sharpness import SamSharpnessConfig
from orchestrator.training.measurement.context import Context, Values

_RHO = 0.05
"""The default of Foret et al. (2021)."""


def measure_sam_sharpness(context: Context, settings: SamSharpnessConfig) -> Values:
    """Returns L(w + rho g / ||g||) - L(w) for the gradient g of the loss L; 0 at a stationary point."""
    norm = context.gradient_norm
    rho = settings.rho or _rho_of_optimizer(context) or _RHO
    step = context.gradient * (rho / norm if norm > 0 else 0.0)
    parameters = context.operator.problem.parameters
    parts = step.split([parameter.numel() for parameter in parameters.values()])
    moved = {
        name: parameter.detach() + part.view_as(parameter)
        for (name, parameter), part in zip(parameters.items(), parts, strict=True)
    }
    return {"sam/sharpness": _loss(context, moved) - _loss(context, {})}


def _rho_of_optimizer(context: Context) -> float | None:
    sam = context.training.config.optimizer.sam if context.training else None
    return sam.rho if sam else None


def _loss(context: Context, weights: Mapping[str, Tensor]) -> float:
    """Returns the mean loss over the measurement subset with these weights in place of the model's own."""
    total, size = 0.0, context.operator.chunk_size
    with torch.no_grad():
        for inputs, targets in zip(context.inputs.split(size), context.targets.split(size), strict=True):
            outputs = functional_call(context.model, dict(weights), (inputs,))
            total += float(context.loss.sum(outputs, targets))
    return total / len(context.inputs)

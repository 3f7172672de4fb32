"""The geometry of an optimizer: its preconditioner at the current weights, and the Hessian in that geometry.

Every built-in optimizer takes the step -lr P^-1 m with a diagonal P and, with momentum, an average m of gradients.
`orchestrator.study.stability` has the thresholds that belong to these definitions.
"""

import math
from typing import Any

import torch
from torch import Tensor, optim

from estimators import PreconditionedOperator, ShiftedOperator, SymmetricOperator
from orchestrator.study.parts.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    Optimizer,
    RmspropConfig,
    SgdConfig,
)
from orchestrator.study.stability import coupled_weight_decay, unknown_geometry

_CLIP_EPS = 1e-6
"""torch's clip_grad_norm_ scales by max_norm / (norm + 1e-6)."""


def preconditioner(config: Optimizer, optimizer: optim.Optimizer, gradient: Tensor) -> Tensor | None:
    """The diagonal of P [size] in the next step, which includes the current gradient. None if it is not known.

    The state of an optimizer is one gradient behind: after a step it belongs to the previous weights. P is therefore
    computed from the state, advanced by the gradient that the optimizer gets next: clipped, and with a coupled weight
    decay added. Below, c is the number of the next step, counted from 1, and nu the advanced average of squares.

    - sgd: 1.
    - adam, adamw: (1 - beta1^c) (sqrt(nu / (1 - beta2^c)) + eps).
    - adagrad: sqrt(sum of squares) + eps.
    - rmsprop: sqrt(nu) + eps. torch does not correct the bias of RMSprop.

    Args:
        config: the optimizer's config.
        optimizer: built from the config. It is left unchanged, and may have taken no step.
        gradient: gradient [size] of the loss at the current weights, without weight decay, in the order of
            ``model.parameters()`` over the parameters that require grad.
    """
    if unknown_geometry(config) is not None:
        return None
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    parts = gradient.detach().split([p.numel() for p in parameters])
    scale, decay = _clip_scale(config, gradient), coupled_weight_decay(config)
    diagonals = []
    for parameter, part in zip(parameters, parts, strict=True):
        seen = scale * part.view_as(parameter) + decay * parameter.detach()
        diagonals.append(_diagonal(config, optimizer.state.get(parameter, {}), seen).reshape(-1))
    return torch.cat(diagonals)


def in_geometry(op: SymmetricOperator, config: Optimizer, diagonal: Tensor) -> SymmetricOperator:
    """P^-1/2 (H + weight decay) P^-1/2, whose largest eigenvalue is the preconditioned sharpness.

    Args:
        op: H, the Hessian of the loss without weight decay.
        config: the optimizer's config. The decay of AdamW is not part of H; it is in the threshold.
        diagonal: P, from `preconditioner`.
    """
    decay = coupled_weight_decay(config)
    return PreconditionedOperator(ShiftedOperator(op, decay) if decay else op, diagonal)


def _clip_scale(config: Optimizer, gradient: Tensor) -> float:
    if config.gradient_clip is None:
        return 1.0
    return min(1.0, config.gradient_clip / (float(torch.linalg.vector_norm(gradient)) + _CLIP_EPS))


def _diagonal(config: Optimizer, state: dict[str, Any], gradient: Tensor) -> Tensor:
    """P of one parameter, shaped like it. The state is empty before the first step, except for AdaGrad."""
    squared = gradient.square()
    match config:
        case SgdConfig():
            return torch.ones_like(gradient)
        case AdamConfig() | AdamWConfig():
            number = float(state["step"]) + 1 if state else 1.0
            average = _updated_average(state.get("exp_avg_sq"), squared, config.beta2)
            corrected = (average / (1 - math.pow(config.beta2, number))).sqrt() + config.eps
            return (1 - math.pow(config.beta1, number)) * corrected
        case AdagradConfig():
            total: Tensor = state["sum"] + squared
            return total.sqrt() + config.eps
        case RmspropConfig():
            return _updated_average(state.get("square_avg"), squared, config.alpha).sqrt() + config.eps
        case _:
            raise AssertionError(f"no preconditioner for {config.name}")


def _updated_average(average: Tensor | None, squared: Tensor, decay: float) -> Tensor:
    new = (1 - decay) * squared
    return new if average is None else new.add(average, alpha=decay)

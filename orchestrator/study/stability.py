"""Where an optimizer becomes unstable on a quadratic: the edge of stability of each optimizer.

With a constant diagonal preconditioner P, an optimizer on a quadratic with Hessian H is a linear recursion for each
eigenvalue of P^-1 H. It diverges once the largest eigenvalue exceeds a threshold that depends on the learning rate, the
momentum and the weight decay. `orchestrator.training.measurement.preconditioner` defines P, without learning rate.
"""

import math
from dataclasses import dataclass

from orchestrator.study.parts.optimizer_config import (
    AdagradConfig,
    AdamConfig,
    AdamWConfig,
    Optimizer,
    OptimizerClassConfig,
    RmspropConfig,
    SgdConfig,
)


@dataclass(frozen=True)
class StabilityThreshold:
    """The sharpness above which an optimizer is unstable on a quadratic."""

    value: float | None
    """In units of the sharpness lambda_max(P^-1 H), infinite at a learning rate of 0; None if it is not known."""
    reason: str
    """The formula of the value, or why it is not known."""


def stability_threshold(
    config: Optimizer, lr: float, step: int = 0, gradient_norm: float | None = None
) -> StabilityThreshold:
    """The stability threshold of an optimizer for its next step.

    H includes a coupled weight decay (`coupled_weight_decay`). Decoupled weight decay of AdamW is in the threshold. All
    thresholds hold for full batches; minibatches become unstable earlier.

    Args:
        config: the optimizer.
        lr: learning rate of the next step, from the schedule.
        step: number of steps so far, for AdaGrad's `lr_decay`.
        gradient_norm: 2-norm of the full gradient, without weight decay. Needed for SAM and gradient clipping.
    """
    unknown = unknown_geometry(config) or _unknown_step(config, gradient_norm)
    if unknown is not None:
        return StabilityThreshold(None, unknown)
    if config.sam is not None:
        assert gradient_norm is not None
        return StabilityThreshold(
            _sam(lr, config.sam.rho, gradient_norm), "||g|| / (2 rho) (sqrt(1 + 8 rho / (lr ||g||)) - 1)"
        )
    return _plain(config, lr, step)


def unknown_geometry(config: Optimizer) -> str | None:
    """Why preconditioner and threshold of an optimizer are not known; None if they are."""
    if isinstance(config, OptimizerClassConfig):
        return f"the update of {config.name} is not known: only built-in optimizers have a threshold"
    if config.sam is None:
        return None
    if not isinstance(config, SgdConfig) or config.momentum > 0 or config.weight_decay > 0:
        return "SAM has a threshold only around SGD without momentum and weight decay"
    if config.gradient_clip is not None:
        return "SAM with gradient clipping has no known threshold: the gradient after the ascent step is clipped"
    return None


def coupled_weight_decay(config: Optimizer) -> float:
    """The weight decay that an optimizer adds to the gradient as `weight_decay * w`, and so to H as a shift.

    0 for AdamW, whose decay is not part of the gradient, and for optimizer classes, whose update is not known.
    """
    return 0.0 if isinstance(config, AdamWConfig | OptimizerClassConfig) else config.weight_decay


def _unknown_step(config: Optimizer, gradient_norm: float | None) -> str | None:
    """Why the threshold is not known at the current gradient; None if it is."""
    needed = "SAM" if config.sam is not None else "gradient clipping" if config.gradient_clip is not None else None
    if needed is None:
        return None
    if gradient_norm is None or not math.isfinite(gradient_norm):
        return f"the threshold with {needed} depends on the norm of the gradient, which is {gradient_norm}"
    if config.sam is not None and gradient_norm == 0.0:
        return "the threshold with SAM is not defined at a gradient of 0"
    if config.gradient_clip is not None and gradient_norm > config.gradient_clip:
        return (
            f"the gradient of norm {gradient_norm:.3g} is clipped to {config.gradient_clip:g}: a clipped gradient is "
            "not linear in the weights, so there is no threshold"
        )
    return None


def _sam(lr: float, rho: float, gradient_norm: float) -> float:
    """The root s of lr s (1 + rho s / ||g||) = 2: SAM's edge (Long and Bartlett, 2024, arXiv:2309.12488)."""
    if lr == 0.0:
        return math.inf
    return gradient_norm / (2 * rho) * (math.sqrt(1 + 8 * rho / (lr * gradient_norm)) - 1)


def _plain(config: Optimizer, lr: float, step: int) -> StabilityThreshold:
    match config:
        case SgdConfig(momentum=momentum, nesterov=True):
            return _ratio(2 + 2 * momentum, (1 + 2 * momentum) * lr, "(2 + 2 momentum) / ((1 + 2 momentum) lr)")
        case SgdConfig(momentum=momentum) | RmspropConfig(momentum=momentum):
            return _ratio(2 + 2 * momentum, lr, "(2 + 2 momentum) / lr" if momentum else "2 / lr")
        case AdamConfig(beta1=beta):
            return _ratio(2 + 2 * beta, (1 - beta) * lr, "(2 + 2 beta1) / ((1 - beta1) lr)")
        case AdamWConfig(beta1=beta, weight_decay=decay):
            # With d = 1 - lr decay: w' = d w - lr m', m' = beta1 m + (1 - beta1) s w. Its roots reach -1 at this s.
            formula = "(2 - lr weight_decay) (1 + beta1) / ((1 - beta1) lr)"
            return _ratio((2 - lr * decay) * (1 + beta), (1 - beta) * lr, formula)
        case AdagradConfig(lr_decay=decay):
            return _ratio(2 * (1 + step * decay), lr, "2 (1 + lr_decay step) / lr" if decay else "2 / lr")
        case _:
            raise AssertionError(f"no threshold for {config.name}")


def _ratio(numerator: float, denominator: float, formula: str) -> StabilityThreshold:
    return StabilityThreshold(numerator / denominator if denominator > 0.0 else math.inf, formula)

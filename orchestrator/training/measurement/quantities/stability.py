"""Sharpness in the geometry of the optimizer, and its stability threshold."""

from estimators import lanczos
from orchestrator.study.quantities.settings.stability import StabilityConfig
from orchestrator.study.stability import coupled_weight_decay, stability_threshold
from orchestrator.training.measurement.context import Context, Training, Values
from orchestrator.training.measurement.preconditioner import in_geometry, preconditioner
from orchestrator.training.optimizers.schedules import learning_rate


def measure_stability(context: Context, settings: StabilityConfig) -> Values:
    """Returns lambda_max(P^-1 H) for the next step, its threshold and their ratio; None if unknown."""
    training = context.required_training(settings.name)
    sharpness, residual = _sharpness(context, training, settings)
    threshold = _threshold(context, training)
    known = sharpness is not None and threshold is not None
    return {
        "stability/sharpness": sharpness,
        "stability/sharpness_residual": residual,
        "stability/threshold": threshold,
        "stability/ratio": sharpness / threshold if known else None,  # type: ignore[operator]
    }


def _sharpness(context: Context, training: Training, settings: StabilityConfig) -> tuple[float | None, float | None]:
    config = training.config.optimizer
    diagonal = preconditioner(config, training.optimizer, context.gradient)
    if diagonal is None:
        return None, None
    if bool((diagonal == 1).all()) and coupled_weight_decay(config) == 0:
        return context.lambda_max
    found = lanczos(
        in_geometry(context.operator, config, diagonal),
        settings.products,
        tolerance=settings.tolerance,
        generator=context.stream("stability start"),
    )
    return found.lambda_max, found.residual


def _threshold(context: Context, training: Training) -> float | None:
    config = training.config
    if not hasattr(config.optimizer, "lr"):  # a class by name
        return None
    steps = config.steps_per_epoch(len(training.data.train))
    rate = learning_rate(config, config.optimizer.lr, steps, context.step)
    return stability_threshold(config.optimizer, rate, context.step, context.gradient_norm).value

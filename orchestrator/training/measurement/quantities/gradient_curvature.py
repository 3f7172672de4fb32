"""The curvature of the loss along its gradient."""

from estimators import gradient_curvature
from orchestrator.study.quantities.settings.gradient_curvature import GradientCurvatureConfig
from orchestrator.training.measurement.context import Context, Values


def measure_gradient_curvature(context: Context, _: GradientCurvatureConfig) -> Values:
    """Returns g'Hg / g'g for the full gradient g; NaN at a stationary point."""
    return {"gradient/curvature": gradient_curvature(context.operator)}

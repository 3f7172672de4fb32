"""The largest eigenvalue of the Gauss-Newton matrix."""

from estimators import GaussNewtonOperator, lanczos
from orchestrator.study.quantities.settings.gauss_newton import GaussNewtonConfig
from orchestrator.training.measurement.context import Context, Values


def measure_gauss_newton(context: Context, settings: GaussNewtonConfig) -> Values:
    """Returns the eigenvalue with its residual."""
    found = lanczos(
        GaussNewtonOperator(
            context.model, context.loss.mean, (context.inputs, context.targets), validate=context.validate
        ),
        settings.products,
        tolerance=settings.tolerance,
        generator=context.stream("gauss newton start"),
    )
    return {"gauss_newton/lambda_max": found.lambda_max, "gauss_newton/lambda_max_residual": found.residual}

"""The largest and the smallest eigenvalue of the Hessian."""

from orchestrator.study.quantities.settings.established import LanczosConfig
from orchestrator.training.measurement.context import Context, Values


def measure_extreme_eigenvalues(context: Context, _: LanczosConfig) -> Values:
    """Returns both eigenvalues with their residuals, and the convergence of the largest one."""
    result = context.lanczos
    return {
        "hessian/lambda_max": result.lambda_max,
        "hessian/lambda_max_residual": result.residual,
        "hessian/lambda_min": result.lambda_min,
        "hessian/lambda_min_residual": result.lambda_min_residual,
        "lanczos/history": tuple(result.history),
    }

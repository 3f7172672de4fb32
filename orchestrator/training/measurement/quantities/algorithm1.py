"""The paper's Algorithm 1: power iteration and Hutchinson's trace."""

from estimators import hutchinson, power_iteration
from orchestrator.study.quantities.settings.established import Algorithm1Config
from orchestrator.training.measurement.context import Context, Values


def measure_algorithm1(context: Context, _: Algorithm1Config) -> Values:
    """Returns the largest eigenvalue in magnitude and the trace, with their raw samples."""
    settings = context.measurement
    start = context.stream("power iteration start")
    eigen = power_iteration(context.operator, settings.algorithm1_iterations, generator=start)
    probes = context.stream("trace probes")
    trace = hutchinson(context.operator, settings.algorithm1_probes, generator=probes)
    return {
        "algorithm1/max_eigenvalue": eigen.value,
        "algorithm1/rayleigh_quotients": tuple(eigen.history),
        "algorithm1/trace": trace.value,
        "algorithm1/trace_std": trace.standard_error * len(trace.samples) ** 0.5,
        "algorithm1/trace_samples": tuple(trace.samples),
        "hessian/trace": trace.value,
        "hessian/trace_standard_error": trace.standard_error,
        # Power iteration finds the eigenvalue of largest magnitude. If it is negative, lambda_max is unknown.
        "hessian/lambda_max": eigen.value if eigen.value >= 0 else None,
        "hessian/lambda_max_residual": eigen.residual if eigen.value >= 0 else None,
    }

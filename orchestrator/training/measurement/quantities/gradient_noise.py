"""The covariance of per-sample gradients."""

from estimators import gradient_noise_trace
from orchestrator.study.quantities.settings.gradient_noise import GradientNoiseConfig
from orchestrator.training.measurement.context import Context, Values


def measure_gradient_noise(context: Context, _: GradientNoiseConfig) -> Values:
    """Returns the trace of the covariance, with its standard error."""
    found = gradient_noise_trace(context.model, context.loss.mean, (context.inputs, context.targets))
    return {
        "gradient/noise_trace": found.value,
        "gradient/noise_trace_standard_error": found.standard_error,
    }

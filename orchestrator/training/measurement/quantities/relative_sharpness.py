"""A sharpness that does not change if layers are rescaled."""

from estimators import relative_sharpness
from orchestrator.study.quantities.settings.relative_sharpness import RelativeSharpnessConfig
from orchestrator.training.measurement.context import Context, Values


def measure_relative_sharpness(context: Context, _: RelativeSharpnessConfig) -> Values:
    """Returns the value with its standard error."""
    found = relative_sharpness(
        context.operator,
        generator=context.stream("relative sharpness probes"),
        gauss_newton=context.trace.gauss_newton_trace if context.is_due("exact_trace") else None,
    )
    return {"sharpness/relative": found.value, "sharpness/relative_standard_error": found.standard_error}

"""The trace of the Hessian. Piecewise linear networks, such as the paper's, need no probes."""

from orchestrator.study.quantities.settings.established import ExactTraceConfig, SampledTraceConfig
from orchestrator.training.measurement.context import Context, Values


def measure_trace(context: Context, _: ExactTraceConfig | SampledTraceConfig) -> Values:
    """Returns the trace with its standard error, and the contribution of every parameter."""
    trace = context.trace
    return {
        "hessian/trace": trace.value,
        "hessian/trace_standard_error": trace.standard_error,
        "hessian/gauss_newton_trace": None if trace.gauss_newton_trace.exact else trace.gauss_newton,
        "trace/per_parameter": dict(trace.gauss_newton_trace.per_parameter),
        "trace/samples": tuple(trace.samples),
    }

"""The curvature of each layer."""

from collections.abc import Iterable

from estimators import lanczos, parameters_by_layer
from orchestrator.study.quantities.settings.layers import LayersConfig
from orchestrator.study.record import Value
from orchestrator.training.measurement.context import Context, Values


def measure_layers(context: Context, settings: LayersConfig) -> Values:
    """Returns lambda_max of each layer's diagonal block, and the block's trace if the exact trace is due."""
    traces = context.trace.gauss_newton_trace if context.is_due("exact_trace") else None
    values: dict[str, Value] = {}
    for layer, names in _layers(context.operator.problem.parameters).items():
        found = lanczos(
            context.operator.restricted(names),
            settings.products,
            tolerance=settings.tolerance,
            generator=context.stream(f"start of layer {layer}"),
        )
        values[f"layers/{layer}/lambda_max"] = found.lambda_max
        values[f"layers/{layer}/lambda_max_residual"] = found.residual
        if traces is not None and traces.exact:
            values[f"layers/{layer}/trace"] = sum(traces.per_parameter[name] for name in names)
    return values


def _layers(parameters: Iterable[str]) -> dict[str, list[str]]:
    """Groups parameters by their module. A parameter of the network itself is a layer of its own."""
    layers = parameters_by_layer(parameters)
    own = layers.pop("", [])
    return {**layers, **{name: [name] for name in own}}

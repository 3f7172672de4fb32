"""All quantities that can be measured."""

from dataclasses import dataclass

from orchestrator.study.quantities.established import (
    Algorithm1Config,
    ExactTraceConfig,
    LanczosConfig,
    SampledTraceConfig,
)
from orchestrator.study.quantities.gradient_curvature import GradientCurvatureConfig
from orchestrator.study.quantities.own_quantity import OwnQuantityConfig
from orchestrator.study.quantities.quantity_config import QuantityConfig
from orchestrator.training.measurement.algorithm1 import measure_algorithm1
from orchestrator.training.measurement.context import Measure
from orchestrator.training.measurement.extreme_eigenvalues import measure_extreme_eigenvalues
from orchestrator.training.measurement.gradient_curvature import measure_gradient_curvature
from orchestrator.training.measurement.own_quantity import measure_own_quantity
from orchestrator.training.measurement.trace import measure_trace


@dataclass(frozen=True)
class Measured:
    """How a quantity is measured."""

    measure: Measure
    keeps_graphs: bool = True
    """Whether it multiplies with `Context.operator`, so that it is faster if graphs are kept."""


MEASURED: dict[type[QuantityConfig], Measured] = {
    # In increasing order of accuracy, so that the most accurate value of a key replaces the others.
    Algorithm1Config: Measured(measure_algorithm1),
    LanczosConfig: Measured(measure_extreme_eigenvalues),
    GradientCurvatureConfig: Measured(measure_gradient_curvature),
    # The trace builds graphs of its own.
    ExactTraceConfig: Measured(measure_trace, keeps_graphs=False),
    SampledTraceConfig: Measured(measure_trace, keeps_graphs=False),
    OwnQuantityConfig: Measured(measure_own_quantity),
}
"""In the order in which they are measured; those that keep graphs come first."""

"""All quantities that can be measured."""

from dataclasses import dataclass

from orchestrator.study.quantities.quantity_config import QuantityConfig
from orchestrator.study.quantities.settings.batch_sharpness import BatchSharpnessConfig
from orchestrator.study.quantities.settings.established import (
    Algorithm1Config,
    ExactTraceConfig,
    LanczosConfig,
    SampledTraceConfig,
)
from orchestrator.study.quantities.settings.gauss_newton import GaussNewtonConfig
from orchestrator.study.quantities.settings.gradient_curvature import GradientCurvatureConfig
from orchestrator.study.quantities.settings.gradient_noise import GradientNoiseConfig
from orchestrator.study.quantities.settings.layers import LayersConfig
from orchestrator.study.quantities.settings.own_quantity import OwnQuantityConfig
from orchestrator.study.quantities.settings.relative_sharpness import RelativeSharpnessConfig
from orchestrator.study.quantities.settings.sam_sharpness import SamSharpnessConfig
from orchestrator.study.quantities.settings.spectral_density import SpectralDensityConfig
from orchestrator.study.quantities.settings.stability import StabilityConfig
from orchestrator.study.quantities.settings.top_eigenvalues import TopEigenvaluesConfig
from orchestrator.training.measurement.context import Measure
from orchestrator.training.measurement.quantities.algorithm1 import measure_algorithm1
from orchestrator.training.measurement.quantities.batch_sharpness import measure_batch_sharpness
from orchestrator.training.measurement.quantities.extreme_eigenvalues import measure_extreme_eigenvalues
from orchestrator.training.measurement.quantities.gauss_newton import measure_gauss_newton
from orchestrator.training.measurement.quantities.gradient_curvature import measure_gradient_curvature
from orchestrator.training.measurement.quantities.gradient_noise import measure_gradient_noise
from orchestrator.training.measurement.quantities.layers import measure_layers
from orchestrator.training.measurement.quantities.own_quantity import measure_own_quantity
from orchestrator.training.measurement.quantities.relative_sharpness import measure_relative_sharpness
from orchestrator.training.measurement.quantities.sam_sharpness import measure_sam_sharpness
from orchestrator.training.measurement.quantities.spectral_density import measure_spectral_density
from orchestrator.training.measurement.quantities.stability import measure_stability
from orchestrator.training.measurement.quantities.top_eigenvalues import measure_top_eigenvalues
from orchestrator.training.measurement.quantities.trace import measure_trace


@dataclass(frozen=True)
class Measurer:
    """How a quantity is measured."""

    measure: Measure
    keeps_graphs: bool = True
    """Whether it multiplies with `Context.operator`, so that it is faster if graphs are kept."""


MEASURERS: dict[type[QuantityConfig], Measurer] = {
    # In increasing order of accuracy, so that the most accurate value of a key replaces the others.
    Algorithm1Config: Measurer(measure_algorithm1),
    LanczosConfig: Measurer(measure_extreme_eigenvalues),
    TopEigenvaluesConfig: Measurer(measure_top_eigenvalues),
    GradientCurvatureConfig: Measurer(measure_gradient_curvature),
    StabilityConfig: Measurer(measure_stability),
    LayersConfig: Measurer(measure_layers),
    SpectralDensityConfig: Measurer(measure_spectral_density),
    # The trace builds graphs of its own.
    ExactTraceConfig: Measurer(measure_trace, keeps_graphs=False),
    SampledTraceConfig: Measurer(measure_trace, keeps_graphs=False),
    BatchSharpnessConfig: Measurer(measure_batch_sharpness, keeps_graphs=False),
    GradientNoiseConfig: Measurer(measure_gradient_noise, keeps_graphs=False),
    GaussNewtonConfig: Measurer(measure_gauss_newton, keeps_graphs=False),
    RelativeSharpnessConfig: Measurer(measure_relative_sharpness, keeps_graphs=False),
    SamSharpnessConfig: Measurer(measure_sam_sharpness, keeps_graphs=False),
    OwnQuantityConfig: Measurer(measure_own_quantity),
}
"""In the order in which they are measured; those that keep graphs come first."""

"""All figures in the order of the report."""

from orchestrator.analysis.figures import (
    convergence,
    cost,
    edge_of_stability,
    explorers,
    layers,
    noise,
    probes,
    shift,
    stopping,
    trace_bias,
    trace_fraction,
)
from orchestrator.analysis.figures.figure import Figure
from orchestrator.analysis.figures.quantities import (
    batch_sharpness,
    layer_sharpness,
    spectral_density,
    stability_ratio,
    top_eigenvalues,
)

PAPER: tuple[Figure, ...] = (
    explorers.FIGURE,
    probes.FIGURE,
    convergence.FIGURE,
    noise.FIGURE,
    shift.FIGURE,
    stopping.FIGURE,
)
BEYOND: tuple[Figure, ...] = (
    edge_of_stability.FIGURE,
    trace_bias.FIGURE,
    trace_fraction.FIGURE,
    cost.FIGURE,
    layers.FIGURE,
    stability_ratio.FIGURE,
    batch_sharpness.FIGURE,
    top_eigenvalues.FIGURE,
    spectral_density.FIGURE,
    layer_sharpness.FIGURE,
)

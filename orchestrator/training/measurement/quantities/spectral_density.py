"""The distribution of all eigenvalues of the Hessian."""

from estimators import spectral_density
from orchestrator.study.quantities.settings.spectral_density import POWERS, SpectralDensityConfig
from orchestrator.training.measurement.context import Context, Values


def measure_spectral_density(context: Context, settings: SpectralDensityConfig) -> Values:
    """Returns nodes and weights of the estimated spectrum, its error, and moments with standard errors."""
    shared = context.shared_eigenpairs if settings.outliers == "shared" else None
    result = spectral_density(
        context.operator,
        settings.probes,
        settings.steps,
        context.stream("spectral density"),
        settings.error,
        deflate=shared or True,
    )
    nodes, masses = result.measure()
    order = nodes.argsort()
    moments = {power: result.moment(power) for power in POWERS}
    return {
        "hessian/spectral_density": nodes[order].tolist(),
        "hessian/spectral_density_weights": masses[order].tolist(),
        "hessian/spectral_density_error": result.error,
        **{f"hessian/moment_{power}": moment.value for power, moment in moments.items()},
        **{f"hessian/moment_{power}_standard_error": moment.standard_error for power, moment in moments.items()},
    }

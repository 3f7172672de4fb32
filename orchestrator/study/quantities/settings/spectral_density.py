"""The distribution of all eigenvalues of the Hessian."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from orchestrator.study.parts.fields import PositiveFloat, PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import SPARSE, Every, QuantityConfig

POWERS = (1, 2, 3, 4)
"""The powers of the recorded moments."""


def _moment(power: int) -> tuple[Quantity, Quantity]:
    key, unit, of = f"hessian/moment_{power}", f"loss^{power}" if power > 1 else "loss", rf"\lambda^{power}"
    meaning = f"mean of the eigenvalues to the power {power}, trace(H^{power}) / size"
    return (
        Quantity(key, unit, rf"mean of ${of}$", meaning, f"{key}_standard_error"),
        Quantity(f"{key}_standard_error", unit, rf"standard error of the mean of ${of}$", "over random probes"),
    )


class SpectralDensityConfig(QuantityConfig):
    """The distribution of all eigenvalues of the Hessian, by stochastic Lanczos quadrature."""

    name: Literal["spectral_density"]
    every: Every = SPARSE
    probes: PositiveInt = 1
    steps: PositiveInt = 24
    """Products per probe, and of an own run that finds the outliers."""
    outliers: Literal["shared", "own run"] = "shared"
    """Where the eigenvalues that probes leave out come from. ``shared``: those that `top_eigenvalues`, otherwise
    `lanczos`, found for the same record, and an own run if neither is measured. A single probe has no own run."""
    error: PositiveFloat | None = None
    """Requested Wasserstein-1 error relative to the range of the spectrum; probes and steps are then limits."""

    quantities = (
        Quantity(
            "hessian/spectral_density",
            "loss",
            "eigenvalues",
            "nodes of the estimated distribution of all eigenvalues, ascending",
            "hessian/spectral_density_error",
        ),
        Quantity("hessian/spectral_density_weights", "share", "share", "share of the eigenvalues at each node"),
        Quantity(
            "hessian/spectral_density_error",
            "loss",
            "$W_1$ error of the spectrum",
            "estimated Wasserstein-1 distance from the true distribution; the part due to probes is a 95% bound",
        ),
        *(quantity for power in POWERS for quantity in _moment(power)),
    )
    first_defaults: ClassVar[Mapping[str, Any]] = {"every": 1, "probes": 2, "steps": 40, "outliers": "own run"}
    cost = "probes * steps products, and steps for an own run that finds the outliers"

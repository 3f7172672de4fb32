"""Sharpness in the geometry of the optimizer, and its stability threshold."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.study.parts.fields import PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig


class StabilityConfig(QuantityConfig):
    """The preconditioned sharpness and its ratio to the stability threshold. Only for built-in optimizers."""

    name: Literal["stability"]
    products: PositiveInt = 30
    """Maximum number of products."""
    tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Lanczos stops once the sharpness has converged to this relative accuracy."""

    quantities = (
        Quantity(
            "stability/sharpness",
            "loss",
            r"$\lambda_{\max}(P^{-1}H)$",
            "largest eigenvalue of the Hessian in the geometry of the optimizer's preconditioner P, at the next step",
            "stability/sharpness_residual",
        ),
        Quantity(
            "stability/sharpness_residual",
            "loss",
            "residual of the sharpness",
            "||Av - lambda v|| for A = P^-1/2 H P^-1/2, v of unit norm",
        ),
        Quantity(
            "stability/threshold",
            "loss",
            "stability threshold",
            "sharpness above which the optimizer is unstable on a quadratic, such as 2 / lr",
            "exact",
        ),
        Quantity(
            "stability/ratio",
            "1",
            "sharpness / threshold",
            "stability/sharpness divided by stability/threshold",
            "stability/sharpness_residual",
        ),
    )
    cost = "5 to 30 products; none for SGD without weight decay if lanczos is measured too"

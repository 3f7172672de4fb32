"""The curvature of the loss along its gradient."""

from typing import Literal

from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig


class GradientCurvatureConfig(QuantityConfig):
    """The curvature of the loss along its gradient."""

    name: Literal["gradient_curvature"]

    quantities = (
        Quantity(
            "gradient/curvature", "loss", r"$g^T H g\,/\,g^T g$", "Rayleigh quotient of the full gradient g", "exact"
        ),
    )
    cost = "1 product"

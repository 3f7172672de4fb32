"""A sharpness that does not change if layers are rescaled."""

from typing import Literal

from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import QuantityConfig


class RelativeSharpnessConfig(QuantityConfig):
    """The trace of the Hessian, each parameter's block weighted by the squared norm of the parameter."""

    name: Literal["relative_sharpness"]

    quantities = (
        Quantity(
            "sharpness/relative",
            "loss",
            "relative sharpness",
            "sum over parameter tensors of ||w||^2 tr(H_ww), unchanged by layer-wise rescaling (Petzka et al., 2021)",
            "sharpness/relative_standard_error",
        ),
        Quantity(
            "sharpness/relative_standard_error",
            "loss",
            "standard error of the relative sharpness",
            "over probes; 0 if the network is piecewise linear",
        ),
    )
    cost = "an exact trace, shared with exact_trace, and 10 products if the network is not piecewise linear"

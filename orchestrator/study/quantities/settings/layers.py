"""The curvature of each layer."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.study.parts.fields import PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import SPARSE, Every, QuantityConfig


class LayersConfig(QuantityConfig):
    """The largest eigenvalue of each layer's diagonal block, and its trace if `exact_trace` is measured too."""

    name: Literal["layers"]
    every: Every = SPARSE
    products: PositiveInt = 10
    """Maximum number of products of each block."""
    tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Lanczos stops once an eigenvalue has converged to this relative accuracy."""

    quantities = (
        Quantity(
            "layers/{layer}/lambda_max",
            "loss",
            r"$\lambda_{\max}(H)$ of {layer}",
            "largest eigenvalue of the Hessian's diagonal block of one layer",
            "layers/{layer}/lambda_max_residual",
        ),
        Quantity(
            "layers/{layer}/lambda_max_residual",
            "loss",
            r"residual of $\lambda_{\max}(H)$ of {layer}",
            "||Hv - lambda v|| of the block, v of unit norm",
        ),
        Quantity(
            "layers/{layer}/trace",
            "loss",
            r"$\mathrm{tr}(H)$ of {layer}",
            "trace of the block; needs exact_trace and a piecewise linear network",
        ),
    )
    first_defaults: ClassVar[Mapping[str, Any]] = {"every": 1}
    cost = "3 to 10 products per layer, cheaper than products with the whole Hessian"

"""The largest eigenvalue of the Gauss-Newton matrix."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.study.parts.fields import PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import SPARSE, Every, QuantityConfig


class GaussNewtonConfig(QuantityConfig):
    """The largest eigenvalue of the generalised Gauss-Newton matrix."""

    name: Literal["gauss_newton"]
    every: Every = SPARSE
    products: PositiveInt = 20
    """Maximum number of products."""
    tolerance: Annotated[float, Field(ge=0)] = 0.001
    """Lanczos stops once the eigenvalue has converged to this relative accuracy."""

    quantities = (
        Quantity(
            "gauss_newton/lambda_max",
            "loss",
            r"$\lambda_{\max}(G)$",
            "largest eigenvalue of the generalised Gauss-Newton matrix",
            "gauss_newton/lambda_max_residual",
        ),
        Quantity(
            "gauss_newton/lambda_max_residual",
            "loss",
            r"residual of $\lambda_{\max}(G)$",
            "||Gv - lambda v||, v of unit norm",
        ),
    )
    first_defaults: ClassVar[Mapping[str, Any]] = {"every": 1}
    cost = "5 to 20 Gauss-Newton products"

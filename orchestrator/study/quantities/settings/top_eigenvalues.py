"""The largest eigenvalues of the Hessian."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orchestrator.study.parts.fields import PositiveInt
from orchestrator.study.quantities.quantity import Quantity
from orchestrator.study.quantities.quantity_config import SPARSE, Every, QuantityConfig


class TopEigenvaluesConfig(QuantityConfig):
    """The k largest eigenvalues of the Hessian, and the gradient's share in the space of their eigenvectors."""

    name: Literal["top_eigenvalues"]
    every: Every = SPARSE
    k: PositiveInt = 5
    products: PositiveInt = 60
    """Maximum number of products. Those of `lanczos` in the same record are shared."""
    tolerance: Annotated[float, Field(ge=0)] = 0.01
    """Relative accuracy of each eigenvalue."""

    quantities = (
        Quantity(
            "hessian/lambda_{i}",
            "loss",
            r"$\lambda_{{i}}(H)$",
            "eigenvalue number {i} of the Hessian, counted from the largest",
            "hessian/lambda_{i}_error",
        ),
        Quantity(
            "hessian/lambda_{i}_residual",
            "loss",
            r"residual of $\lambda_{{i}}$",
            "||Hv - lambda v||, v of unit norm",
        ),
        Quantity(
            "hessian/lambda_{i}_error",
            "loss",
            r"error of $\lambda_{{i}}$",
            "upper bound of the distance from eigenvalue number {i}, with a probability of 99%; missing if unknown",
        ),
        Quantity(
            "hessian/gradient_share",
            "1",
            "gradient's share in the top eigenspace",
            "squared norm of the gradient's part in the space of these eigenvectors, over its own",
            "hessian/gradient_share_error",
        ),
        Quantity(
            "hessian/gradient_share_error",
            "1",
            "error of the gradient's share",
            "upper bound, with a probability of 99%, from residuals and gap; missing if unknown",
        ),
    )
    first_defaults: ClassVar[Mapping[str, Any]] = {"every": 1}
    cost = "15 to 60 products, less those of lanczos"

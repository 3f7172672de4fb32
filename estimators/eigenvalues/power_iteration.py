"""Power iteration: MaxEig of the paper's Algorithm 1."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.eigenvalues.ritz import ROUNDING
from estimators.operators.inner_products import dot, norm
from estimators.operators.protocols import SymmetricOperator, keeping_graphs, without_autocast
from estimators.operators.random_vectors import random_vector


@dataclass(frozen=True, eq=False)
class PowerIterationResult:
    """Result of `estimators.power_iteration`. Eigenvalues are in units of the loss per squared parameter."""

    value: float
    """The last Rayleigh quotient. It converges to the eigenvalue of largest magnitude, with its sign."""
    residual: float
    """||A v - value v|| for v = ``vector``, at least the rounding of products, 10 eps |value|.

    Some eigenvalue is within this distance of ``value``."""
    products: float
    """Products used."""
    history: tuple[float, ...] = field(repr=False)
    """The Rayleigh quotient of every iteration."""
    vector: Tensor = field(repr=False)
    """[size]: the vector with Rayleigh quotient ``value``, of unit length."""


@without_autocast
def power_iteration(
    op: SymmetricOperator, iterations: int = 10, generator: torch.Generator | None = None
) -> PowerIterationResult:
    """Estimates the eigenvalue of largest *magnitude* (MaxEig of Algorithm 1, equations (17) and (18)).

    Draws v ~ N(0, I), then repeats: v <- v / ||v||, value <- v'Av, v <- Av. The limit may be negative: it is not the
    algebraically largest eigenvalue if -lambda_min is larger. Power iteration has no convergence test. Check the
    residual, or use `estimators.lanczos`, which computes both ends of the spectrum more accurately with the same
    number of products.

    Args:
        op: the operator. Every iteration takes one product. If the operator keeps graphs, a product costs 6F, plus 3F
            for the first.
        iterations: at least 1.
        generator: draws the first vector, on any device. None: torch's global CPU generator.

    Raises:
        ValueError: if iterations is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}, expected at least 1: the paper takes 10")
    products_before = op.products
    vector = product = random_vector(op, generator)
    quotients = []
    with keeping_graphs(op):
        for _ in range(iterations):
            length = norm(product)
            # A vector in the null space is an eigenvector: keep it. Algorithm 1 would divide zero by zero.
            vector = torch.where(length == 0, vector, product / length)
            product = op.matvec(vector)
            quotients.append(dot(vector, product))
    history = tuple(torch.stack(quotients).tolist())
    rounding = ROUNDING * torch.finfo(op.dtype).eps * abs(history[-1])
    residual = max(float(norm(product - quotients[-1] * vector)), rounding)
    return PowerIterationResult(history[-1], residual, op.products - products_before, history, vector)

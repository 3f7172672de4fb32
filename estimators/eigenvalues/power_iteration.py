"""Power iteration, as Algorithm 1 of the paper states it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from estimators.operators.protocols import SymmetricOperator, keeping_graphs
from estimators.operators.random_vectors import random_vector


@dataclass(frozen=True, eq=False)
class PowerIterationResult:
    """What :func:`estimators.power_iteration` found. Eigenvalues are in units of the loss per squared parameter."""

    value: float
    """The last Rayleigh quotient: in the limit the eigenvalue of largest magnitude, with its sign."""
    residual: float
    """||A v - value v|| of ``vector``: some eigenvalue lies within it of ``value``."""
    products: float
    """Products it took."""
    history: tuple[float, ...] = field(repr=False)
    """All Rayleigh quotients, one per iteration."""
    vector: Tensor = field(repr=False)
    """[size], of unit length: the vector that ``value`` is the Rayleigh quotient of."""


def power_iteration(
    op: SymmetricOperator, iterations: int = 10, generator: torch.Generator | None = None
) -> PowerIterationResult:
    """The eigenvalue of largest *magnitude*, by MaxEig of Algorithm 1 (equations (17) and (18)).

    v ~ N(0, I); then ``iterations`` times: v <- v / ||v||, value <- v'Av, v <- Av. In the limit the value is the
    eigenvalue farthest from zero, which may be negative: not the algebraically largest one where -lambda_min is
    larger. It says nothing about convergence: look at the residual, or use :func:`estimators.lanczos`, which gets
    both ends of the spectrum and at equal products a smaller error.

    Args:
        op: the operator, one product per iteration, 6F each but for the first where it keeps graphs.
        iterations: at least 1.
        generator: the stream of the first vector, on any device; None: torch's global CPU stream.

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
            norm = torch.linalg.vector_norm(product)
            # A vector in the null space is an eigenvector: it stays, where Algorithm 1 would divide zero by zero.
            vector = torch.where(norm == 0, vector, product / norm)
            product = op.matvec(vector)
            quotients.append(torch.dot(vector, product))
    history = tuple(torch.stack(quotients).tolist())
    residual = torch.linalg.vector_norm(product - quotients[-1] * vector)
    return PowerIterationResult(
        value=history[-1],
        residual=float(residual),
        products=op.products - products_before,
        history=history,
        vector=vector,
    )

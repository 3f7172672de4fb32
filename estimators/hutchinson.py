"""Hutchinson's trace estimator: the paper's Trace, with its uncertainty, and with part of the trace taken exactly."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor

from estimators.operators import SymmetricOperator, block_product, keeping_graphs
from estimators.random_vectors import Distribution, random_vector
from estimators.results import HutchinsonResult

# Of probes whose products are taken at once; products and their copies take three times as much again. It holds 16
# probes for a million float32 parameters; more would save little: one product costs 6F + 3F/k.
_BLOCK_BYTES = 64 * 2**20


class DeflatingSubspace(Protocol):
    """What deflation needs, and a :class:`estimators.LanczosResult` has."""

    @property
    def basis(self) -> Tensor:
        """Q [size, k], orthonormal columns."""
        ...

    @property
    def tridiagonal(self) -> Tensor:
        """Q'AQ [k, k]."""
        ...


def hutchinson(
    op: SymmetricOperator,
    probes: int = 10,
    distribution: Distribution = "gaussian",
    deflate: DeflatingSubspace | None = None,
    generator: torch.Generator | None = None,
) -> HutchinsonResult:
    """The trace of A as the mean of z'Az over random probes z (Hutchinson, 1990; Trace of Algorithm 1, equation (7)).

    The variance of one sample is 2 ||A||_F^2 for Gaussian probes, the paper's, and 2 (||A||_F^2 - sum A_ii^2) for
    Rademacher probes, which is never more. With ``deflate``, trace(Q'AQ) is exact and the probes see only the
    complement P = I - QQ': trace(Q'AQ) + z'PAPz is unbiased with variance 2 ||PAP||_F^2 for Gaussian probes.

    Products are taken of several probes at once where the operator can, as many as fit into 64 MiB or one: 6F + 3F/k
    each for k at once. The numbers are those of one at a time.

    Args:
        op: the operator, one product a probe.
        probes: at least 1; the standard error needs 2.
        distribution: "gaussian" or "rademacher".
        deflate: a Lanczos result of *this* operator over all of its data. One of a subset, or of other parameters, has
            another Q'AQ and biases the trace; so does one whose start came from the same stream as the probes.
        generator: the probes' stream, on any device; None: torch's global CPU stream.

    Raises:
        ValueError: if probes is below 1, for another distribution, or a basis that does not fit the operator.
    """
    if probes < 1:
        raise ValueError(f"probes is {probes}, expected at least 1, and 2 for a standard error: the paper takes 10")
    if distribution not in ("gaussian", "rademacher"):
        raise ValueError(f'distribution is {distribution!r}, expected "gaussian" or "rademacher"')
    if deflate is not None:
        _check_subspace(op, deflate)
    products_before = op.products
    exact = 0.0 if deflate is None else float(deflate.tridiagonal.trace())
    quadratic_forms, squared_norms = [], []
    block = max(1, min(probes, _BLOCK_BYTES // (op.size * op.dtype.itemsize)))
    with keeping_graphs(op) if block < probes else nullcontext():
        for first in range(0, probes, block):
            drawn = [_probe(op, generator, distribution, deflate) for _ in range(min(block, probes - first))]
            for probe, product in zip(drawn, _products(op, drawn), strict=True):
                quadratic_forms.append(torch.dot(probe, product))
                squared_norms.append(torch.dot(product, product))
    # One wait for the device, after the last product.
    samples = tuple(exact + form for form in torch.stack(quadratic_forms).tolist())
    value = math.fsum(samples) / probes
    frobenius = math.sqrt(math.fsum(torch.stack(squared_norms).tolist()) / probes) if deflate is None else None
    return HutchinsonResult(
        value=value,
        standard_error=_standard_error(samples, value),
        frobenius=frobenius,
        products=op.products - products_before,
        samples=samples,
    )


def required_probes(
    mean: float,
    std: float,
    epsilon: float = 0.1,
    epsilon_abs: float = 1.0,
    delta: float = 0.05,
    published: bool = False,
) -> float:
    """How many probes Chebyshev's inequality asks for, so that |estimate - trace| < max(epsilon |mean|, epsilon_abs).

    This holds with probability 1 - delta. With s the standard deviation of one sample, the mean of n samples has
    variance s^2 / n, so n >= s^2 / (delta max(...)^2). The paper divides by n^2 in equation (15) and prints the
    square root of this as (16): ``published=True``. Not rounded up: Figure 2 shows means of these numbers over
    epochs, and a mean of rounded ones is another number. Draw math.ceil of it, at least 1.

    Args:
        mean: of the samples, in place of the trace.
        std: the standard deviation of *one* sample, in the same units.
        epsilon: relative error, a fraction.
        epsilon_abs: absolute error, in the trace's units, that is good enough where the trace is near zero.
        delta: probability of a larger error.
        published: equation (16) as printed.

    Raises:
        ValueError: for a mean or std that is not finite, a negative std, epsilon or epsilon_abs, no positive error
            allowed, or delta outside (0, 1).

    >>> round(required_probes(mean=233.0, std=50.0), 3), round(required_probes(mean=233.0, std=50.0, published=True), 3)
    (92.1, 9.597)
    """
    if not math.isfinite(mean):
        raise ValueError(f"mean is {mean}, expected a finite number: leave out diverged trials")
    if not 0.0 <= std < math.inf:
        raise ValueError(f"std is {std}, expected a finite number, at least 0: leave out diverged trials")
    if not (0.0 <= epsilon < math.inf and 0.0 <= epsilon_abs < math.inf):
        raise ValueError(f"epsilon is {epsilon} and epsilon_abs {epsilon_abs}, expected finite numbers, at least 0")
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta is {delta}, expected a probability in (0, 1): for 95% confidence pass 0.05")
    allowed = max(epsilon * abs(mean), epsilon_abs)
    if allowed == 0.0:
        raise ValueError(f"max({epsilon} * |{mean}|, {epsilon_abs}) is zero, expected more: raise epsilon_abs")
    published_bound = std / (math.sqrt(delta) * allowed)
    return published_bound if published else published_bound**2


def _probe(
    op: SymmetricOperator,
    generator: torch.Generator | None,
    distribution: Distribution,
    deflate: DeflatingSubspace | None,
) -> Tensor:
    probe = random_vector(op, generator, distribution)
    return probe if deflate is None else probe - deflate.basis @ (deflate.basis.T @ probe)


def _products(op: SymmetricOperator, vectors: list[Tensor]) -> Iterator[Tensor]:
    if len(vectors) == 1:
        yield op.matvec(vectors[0])
        return
    product = block_product(op, torch.stack(vectors, dim=1))
    for column in range(len(vectors)):
        # A copy, which lies as the product of a single vector does: a dot product may round otherwise elsewhere.
        yield product[:, column].clone()


def _standard_error(samples: tuple[float, ...], mean: float) -> float:
    count = len(samples)
    if count == 1:
        return math.nan
    return math.sqrt(math.fsum((sample - mean) ** 2 for sample in samples) / (count - 1) / count)


def _check_subspace(op: SymmetricOperator, deflate: DeflatingSubspace) -> None:
    rows, columns = deflate.basis.shape
    found = (rows, deflate.basis.dtype, deflate.basis.device)
    if found != (op.size, op.dtype, op.device) or deflate.tridiagonal.shape != (columns, columns):
        raise ValueError(
            f"deflate has a basis of shape {(rows, columns)}, {found[1]}, {found[2]} and a tridiagonal of shape"
            f" {tuple(deflate.tridiagonal.shape)}, expected [{op.size}, k], {op.dtype}, {op.device} and [k, k]:"
            " pass a Lanczos result of this operator"
        )

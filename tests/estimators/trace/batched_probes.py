"""Many results of `hutchinson` on a matrix, computed at once."""

import math

import torch
from torch import Tensor

from estimators import HutchinsonResult, LanczosResult
from estimators.operators.random_vectors import Distribution
from tests.estimators.cases import seeded


def draw(shape: tuple[int, ...], distribution: Distribution) -> Tensor:
    if distribution == "gaussian":
        return torch.randn(shape, dtype=torch.float64, generator=seeded(0))
    return 2.0 * torch.randint(0, 2, shape, generator=seeded(0)).double() - 1.0


def batched_results(
    matrix: Tensor, vectors: Tensor, distribution: Distribution, deflate: LanczosResult | None = None
) -> list[HutchinsonResult]:
    """Returns one result of `hutchinson` per draw, given the vectors [draws, probes, size] of its probes."""
    products = vectors @ matrix
    frobenius = products.square().sum(dim=2)
    if deflate is None:
        return _results(vectors, products, frobenius, distribution, torch.zeros(1, 1, dtype=matrix.dtype))
    projection = torch.eye(len(matrix), dtype=matrix.dtype) - deflate.basis @ deflate.basis.T
    products = vectors @ projection @ matrix
    frobenius = products.square().sum(dim=2) + (products @ deflate.basis).square().sum(dim=2)
    return _results(vectors, products @ projection, frobenius, distribution, deflate.tridiagonal)


def _results(
    vectors: Tensor, products: Tensor, frobenius: Tensor, distribution: Distribution, inside: Tensor
) -> list[HutchinsonResult]:
    """The results for products M z [draws, probes, size], with M = PAP and ``inside`` = Q'AQ if A was deflated."""
    probes = vectors.shape[1]
    # P is a projection, so z'PAPz is also the product of PAPz with z itself.
    samples = inside.trace() + (vectors * products).sum(dim=2)
    norms = products.square().sum(dim=2)
    variances = 2.0 * norms.mean(dim=1)
    if distribution == "rademacher":
        variances = torch.minimum(variances, 2.0 * (vectors * products).var(dim=1).sum(dim=1))
    values, errors = samples.mean(dim=1), samples.std(dim=1) / math.sqrt(probes)
    norm_of_matrix = (inside.square().sum() + frobenius.mean(dim=1)).sqrt()
    columns = values, errors, norm_of_matrix, samples, norms, variances
    rows = zip(*(numbers.tolist() for numbers in columns), strict=True)
    return [
        HutchinsonResult(value, error, norm, probes, tuple(row), tuple(squares), variance)
        for value, error, norm, row, squares, variance in rows
    ]

"""The start vector of a search for several eigenvalues, from Lanczos on a few of the samples."""

from torch import Tensor

from estimators.eigenvalues.krylov import KrylovSpace
from estimators.operators.protocols import SampledOperator, keeping_graphs

# Of a sum of shares of a product.
_ROUNDING = 1e-9


def subset_start(op: SampledOperator, k: int, fraction: float, random: Tensor) -> Tensor:
    """Returns the sum [size] of approximations of the k top eigenvectors, at the cost of at most one product.

    The approximations are the top Ritz vectors of Lanczos on the first ceil(fraction * n) of the n samples. On networks
    in training, their space is close to that of all samples' top eigenvectors, even for 50 images. The Krylov space of
    the sum then needs about as many products as it has to separate eigenvalues. From a random vector it needs more,
    because that is almost orthogonal to all of them.

    Args:
        op: the operator, with its samples in random order.
        k: number of eigenvectors.
        fraction: share of the samples, at most 1.
        random: the start [size] of Lanczos.
    """
    subset = op.subset(fraction)
    before = op.products
    with keeping_graphs(subset):
        space = KrylovSpace(subset, min(steps(k), op.size))
        space.start(random)
        space.expand()
        affordable = int((1.0 + _ROUNDING) / (op.products - before))
        while space.directions and space.dimension < min(space.capacity, affordable):
            space.expand()
    ritz = space.ritz()
    if not ritz.finite:
        return random
    top: Tensor = ritz.vectors[:, -k:].sum(dim=1)
    return space.basis @ top.to(op.device, op.dtype)


def steps(k: int) -> int:
    """Number of Lanczos steps for k eigenvectors."""
    return 2 * k + 10

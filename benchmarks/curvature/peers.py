"""Power iteration and trace estimation by our code, the paper's equations and three libraries."""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.curvature.naive import Product, hessian_product
from benchmarks.curvature.problems import PeerProblem
from estimators import HessianOperator, hutchinson, power_iteration

NEVER = -float("inf")
"""Convergence tolerance with which no library stops early."""


@dataclass(frozen=True)
class Implementation:
    power: Callable[[int], object]
    trace: Callable[[int], object]
    product: Product
    """Computes H v. Both vectors are flat, in the order of the parameters."""


def ours(problem: PeerProblem) -> Implementation:
    """Our Hessian operator with its default chunk size."""
    operator = HessianOperator(problem.copied_model(), problem.loss, (problem.inputs, problem.targets))
    return Implementation(
        power=lambda iterations: power_iteration(operator, iterations),
        trace=lambda probes: hutchinson(operator, probes),
        product=operator.matvec,
    )


def paper(problem: PeerProblem) -> Implementation:
    """Algorithm 1 as written in the paper: one batch, and a new graph of the gradient for each product."""
    product, size = hessian_product(problem, chunk=len(problem.inputs)), problem.size

    def trace(probes: int) -> float:
        vectors = (torch.randn(size, device=problem.device) for _ in range(probes))
        return sum(float(vector @ product(vector)) for vector in vectors) / probes

    return Implementation(_power_iteration(product, size, problem.device), trace, product)


def _power_iteration(product: Product, size: int, device: torch.device) -> Callable[[int], float]:
    """Textbook power iteration with the given product."""

    def power(iterations: int) -> float:
        vector, value = torch.randn(size, device=device), 0.0
        for _ in range(iterations):
            vector = vector / vector.norm()
            value = float(vector @ (applied := product(vector)))
            vector = applied
        return value

    return power


def pyhessian(problem: PeerProblem, chunk: int) -> Implementation:
    """PyHessian with batched data. Its trace uses Rademacher probes."""
    from pyhessian import hessian

    model = problem.copied_model()
    shapes = [parameter.shape for parameter in model.parameters()]
    library = hessian(model, problem.loss, dataloader=problem.batches(chunk), cuda=problem.inputs.is_cuda)

    def product(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        _, applied = library.dataloader_hv_product(
            [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        )
        return torch.cat([part.flatten() for part in applied])

    return Implementation(
        power=lambda iterations: library.eigenvalues(maxIter=iterations, tol=NEVER),
        trace=lambda probes: library.trace(maxIter=probes, tol=NEVER),
        product=product,
    )


def eigenthings(problem: PeerProblem, chunk: int) -> Implementation:
    """hessian-eigenthings. It averages the means of the batches, so they must have equal size."""
    from hessian_eigenthings.algorithms.power_iteration import power_iteration_one
    from hessian_eigenthings.algorithms.trace import hutchinson as their_hutchinson
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator as TheirOperator

    operator = TheirOperator(problem.copied_model(), problem.batches(chunk), supervised_loss(problem.loss))
    return Implementation(
        power=lambda iterations: power_iteration_one(operator, max_iter=iterations, tol=NEVER),
        trace=lambda probes: their_hutchinson(operator, num_samples=probes, distribution="gaussian"),
        product=operator.matvec,
    )


def curvlinops(problem: PeerProblem, chunk: int, together: bool = False) -> Implementation:
    """curvlinops. It has no power iteration, so this is a loop over its products.

    With `together`, its `hutchinson_trace` multiplies all probes as one matrix.
    """
    from curvlinops import HessianLinearOperator, hutchinson_trace

    model = problem.copied_model()
    operator = HessianLinearOperator(
        model, problem.loss, list(model.parameters()), problem.batches(chunk), check_deterministic=False
    )

    def product(vector: Tensor) -> Tensor:
        applied: Tensor = operator @ vector
        return applied

    def trace(probes: int) -> float:
        if together:
            return float(hutchinson_trace(operator, probes, "normal"))
        return sum(float(hutchinson_trace(operator, 1, "normal")) for _ in range(probes)) / probes

    return Implementation(_power_iteration(product, operator.shape[0], problem.device), trace, product)


Build = Callable[[PeerProblem, int], Implementation]
_PEERS: dict[str, tuple[str, dict[str, Build]]] = {
    "PyHessian": ("pyhessian", {"": pyhessian}),
    "hessian-eigenthings": ("hessian_eigenthings", {"": eigenthings}),
    "curvlinops": (
        "curvlinops",
        {"probes one by one": curvlinops, "probes together": lambda p, c: curvlinops(p, c, together=True)},
    ),
}


def installed() -> dict[str, dict[str, Build]]:
    """Maps each installed library to the ways of calling it."""
    return {name: ways for name, (module, ways) in _PEERS.items() if importlib.util.find_spec(module)}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses warnings of other libraries (deprecated torch functions, graphs left by PyHessian).

    Also disables TF32 convolutions, which would round products to a relative 1e-3 on a GPU.
    """
    before = torch.backends.cudnn.allow_tf32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before


def missing() -> list[str]:
    return [name for name in _PEERS if name not in installed()]

"""Spectral densities by our code and by three libraries, as nodes and masses."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.curvature.problems import PeerProblem
from estimators import HessianOperator, spectral_density

Density = Callable[[int], tuple[Tensor, Tensor]]
"""Returns nodes and masses [m] for a seed."""
Build = Callable[[PeerProblem, int, int], Density]


def ours(problem: PeerProblem, probes: int, steps: int) -> Density:
    """Our defaults."""
    op = HessianOperator(problem.copied_model(), problem.loss, (problem.inputs, problem.targets))
    return lambda seed: spectral_density(op, probes, steps, torch.Generator().manual_seed(seed)).measure()


def pyhessian(problem: PeerProblem, probes: int, steps: int) -> Density:
    """PyHessian on one batch, whose graph it keeps."""
    from pyhessian import hessian

    library = hessian(problem.copied_model(), problem.loss, data=(problem.inputs, problem.targets), cuda=False)

    def density(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        with _torch_eig():
            return _pooled(*map(torch.tensor, library.density(iter=steps, n_v=probes)))

    return density


@contextmanager
def _torch_eig() -> Iterator[None]:
    """Provides `torch.eig`, which PyHessian 0.1 calls and torch has removed."""

    def eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        return torch.stack([values, torch.zeros_like(values)], dim=1), vectors

    before = getattr(torch, "eig", None)
    setattr(torch, "eig", eig)  # noqa: B010
    try:
        yield
    finally:
        setattr(torch, "eig", before)  # noqa: B010


def eigenthings(problem: PeerProblem, probes: int, steps: int) -> Density:
    """hessian-eigenthings, with full reorthogonalisation; the raw nodes before they are smoothed."""
    from hessian_eigenthings.algorithms.spectral_density import spectral_density as theirs
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator as TheirOperator

    batches = problem.batches(len(problem.inputs))
    operator = TheirOperator(problem.copied_model(), batches, supervised_loss(problem.loss))

    def density(seed: int) -> tuple[Tensor, Tensor]:
        # A run uses seed + its number.
        found = theirs(operator, num_runs=probes, lanczos_steps=steps, num_grid_points=2, seed=1000 * seed)
        return _pooled(found.raw_eigenvalues, found.raw_weights)

    return density


def curvlinops(problem: PeerProblem, probes: int, steps: int) -> Density:
    """curvlinops, without reorthogonalisation; the raw nodes, without the products for the ends of its grid."""
    from curvlinops import HessianLinearOperator
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

    model = problem.copied_model()
    operator = HessianLinearOperator(
        model,
        problem.loss,
        list(model.parameters()),
        problem.batches(len(problem.inputs)),
        check_deterministic=False,
    )

    def density(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        runs = [fast_lanczos(operator, steps) for _ in range(probes)]
        values = torch.stack([values for values, _ in runs])
        return _pooled(values, torch.stack([vectors[0] ** 2 for _, vectors in runs]))

    return density


def _pooled(nodes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    kept = torch.isfinite(nodes)
    nodes, weights = nodes[kept].double(), weights[kept].double()
    return nodes, weights / weights.sum()


_PEERS: dict[str, tuple[str, Build]] = {
    "PyHessian": ("pyhessian", pyhessian),
    "hessian-eigenthings": ("hessian_eigenthings", eigenthings),
    "curvlinops": ("curvlinops", curvlinops),
}


def installed() -> dict[str, Build]:
    """The installed libraries."""
    return {name: build for name, (module, build) in _PEERS.items() if importlib.util.find_spec(module)}

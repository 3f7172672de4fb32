"""The largest eigenvalues by our code and by three libraries."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.curvature.problems import PeerProblem
from estimators import HessianOperator, top_eigenvalues
from estimators.eigenvalues.krylov import KrylovSpace

MOST_STEPS = 50
"""Maximum number of Lanczos steps of hessian-eigenthings. With more, it would not reorthogonalise."""
_DOUBLINGS = 4
"""Maximum number of attempts of hessian-eigenthings: 10, 20, 40 and 80 steps for five eigenvalues."""
_PYHESSIAN_ITERATIONS = 100
"""Maximum number of PyHessian's power iterations per eigenvalue, its default."""


@dataclass(frozen=True)
class Goal:
    """What is asked of every implementation."""

    count: int
    """Number of eigenvalues."""
    tolerance: float
    """Relative to each eigenvalue."""
    steps: int
    """Number of Lanczos steps of hessian-eigenthings in the row that knows it beforehand."""


@dataclass(frozen=True)
class Found:
    """Eigenvalues, descending, and what they cost."""

    values: list[float]
    products: float
    residuals: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    """Upper bounds of the errors, if the implementation gives any."""
    converged: list[bool] = field(default_factory=list)


KNOWN_STEPS = "hessian-eigenthings, steps known"
Task = Callable[[int], Found]
"""A function of the seed."""
Build = Callable[[PeerProblem, int, Goal], Task]
"""A function of problem, chunk size and goal."""


class CountedBatches(list[tuple[Tensor, Tensor]]):
    """Batches that count how often they are iterated, once per product."""

    passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        return super().__iter__()


def ours(problem: PeerProblem, goal: Goal) -> Task:
    """`top_eigenvalues` with its defaults and our default chunk size."""
    op = HessianOperator(problem.copied_model(), problem.loss, (problem.inputs, problem.targets))

    def task(seed: int) -> Found:
        found = top_eigenvalues(op, goal.count, goal.tolerance, generator=torch.Generator().manual_seed(seed))
        lists = [values.tolist() for values in (found.residuals, found.errors, found.converged)]
        return Found(found.values.tolist(), found.products, *lists)

    return task


def pyhessian(problem: PeerProblem, chunk: int, goal: Goal) -> Task:
    """PyHessian: power iteration with deflation, with its default iterations and tolerance."""
    from pyhessian import hessian

    batches = CountedBatches(problem.batches(chunk))
    library = hessian(problem.copied_model(), problem.loss, dataloader=batches, cuda=False)

    def task(seed: int) -> Found:
        torch.manual_seed(seed)
        before = batches.passes
        values, _ = library.eigenvalues(maxIter=_PYHESSIAN_ITERATIONS, top_n=goal.count)
        return _found(values, batches.passes - before)

    return task


def eigenthings(problem: PeerProblem, chunk: int, goal: Goal) -> Task:
    """hessian-eigenthings: Lanczos with a given number of steps, whether or not its test of convergence passes."""
    from hessian_eigenthings.algorithms.lanczos import lanczos as theirs

    operator, batches = _their_operator(problem, chunk)

    def task(seed: int) -> Found:
        before = batches.passes
        found = theirs(operator, k=goal.count, max_iter=goal.steps, which="LA", seed=seed)
        return _found(found.eigenvalues.tolist(), batches.passes - before)

    return task


def eigenthings_doubling(problem: PeerProblem, chunk: int, goal: Goal) -> Task:
    """hessian-eigenthings with twice as many Lanczos steps until its test of convergence passes.

    Starts with its default, 2 k steps. It cannot continue a run, so each attempt starts again.
    """
    from hessian_eigenthings.algorithms.lanczos import lanczos as theirs

    operator, batches = _their_operator(problem, chunk)

    def task(seed: int) -> Found:
        before = batches.passes
        for steps in (2 * goal.count * 2**doublings for doublings in range(_DOUBLINGS)):
            steps = min(steps, problem.size)
            found = theirs(operator, k=goal.count, max_iter=steps, tol=goal.tolerance, which="LA", seed=seed)
            if bool(found.converged.all()) or steps == problem.size:
                break
        return _found(found.eigenvalues.tolist(), batches.passes - before)

    return task


def _their_operator(problem: PeerProblem, chunk: int) -> tuple[Any, CountedBatches]:
    from hessian_eigenthings.loss_fns.standard import supervised_loss
    from hessian_eigenthings.operators.hessian import HessianOperator as TheirOperator

    batches = CountedBatches(problem.batches(chunk))
    return TheirOperator(problem.copied_model(), batches, supervised_loss(problem.loss)), batches


def fewest_steps(problem: PeerProblem, references: Sequence[float], tolerance: float, seed: int) -> int:
    """The fewest Lanczos steps of hessian-eigenthings after which all eigenvalues are accurate; at most `MOST_STEPS`.

    Uses our products and orthogonalisation, which differ from its own only by rounding.
    """
    op = HessianOperator(problem.copied_model(), problem.loss, (problem.inputs, problem.targets))
    space = KrylovSpace(op, min(MOST_STEPS, op.size))
    space.start(torch.randn(op.size, generator=torch.Generator().manual_seed(seed)))
    with op.keeping_graphs():
        while space.directions and space.dimension < space.capacity:
            space.expand()
            values = list(reversed(space.ritz().values))[: len(references)]
            errors = [abs(value - true) / true for value, true in zip(values, references, strict=False)]
            if len(errors) == len(references) and max(errors) <= tolerance:
                break
    return space.dimension


def scipy(problem: PeerProblem, chunk: int, goal: Goal) -> Task:
    """SciPy's `eigsh` (ARPACK) with the products of curvlinops."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh

    model, batches = problem.copied_model(), CountedBatches(problem.batches(chunk))
    parameters = list(model.parameters())
    operator = HessianLinearOperator(model, problem.loss, parameters, batches, check_deterministic=False).to_scipy()

    def task(seed: int) -> Found:
        before = batches.passes
        start = np.random.default_rng(seed).standard_normal(problem.size).astype(operator.dtype)
        values = eigsh(operator, goal.count, which="LA", tol=goal.tolerance, v0=start, return_eigenvectors=False)
        return _found(values.tolist(), batches.passes - before)

    return task


def _found(values: Sequence[float], products: int) -> Found:
    return Found(sorted(values, reverse=True), products)


@dataclass(frozen=True)
class Peer:
    """A library and the key of its products in `benchmarks.curvature.peers`."""

    build: Build
    products: str


_PEERS: dict[str, tuple[str, Peer]] = {
    "PyHessian": ("pyhessian", Peer(pyhessian, "PyHessian")),
    KNOWN_STEPS: ("hessian_eigenthings", Peer(eigenthings, "hessian-eigenthings")),
    "hessian-eigenthings, steps doubled": ("hessian_eigenthings", Peer(eigenthings_doubling, "hessian-eigenthings")),
    "SciPy with curvlinops": ("curvlinops", Peer(scipy, "curvlinops")),
}


def installed() -> dict[str, Peer]:
    """The installed libraries."""
    return {name: peer for name, (module, peer) in _PEERS.items() if importlib.util.find_spec(module)}

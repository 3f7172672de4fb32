"""References of the largest eigenvalues: Ritz values in float64, compared with those of SciPy's `eigsh`."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.curvature.references import StoredReferences
from benchmarks.curvature.snapshots import Snapshot
from estimators import HessianOperator, top_eigenvalues

TOP_REFERENCES = Path(__file__).parents[1] / "references" / "top_eigenvalues.json"
COUNT = 5
"""Number of eigenvalues."""
_PRODUCTS = 200
_TOLERANCE = 1e-4
"""Of each eigenvalue in float32. A Rayleigh quotient of its vector in float64 is more accurate."""
_EIGSH_TOLERANCE = 1e-5


@dataclass(frozen=True)
class TopReference:
    """The five largest eigenvalues of a network's loss over given images."""

    name: str
    images: int
    values: list[float]
    """Descending."""
    residuals: list[float]
    """||H v - value v|| in float64, of each vector."""
    converged: bool
    """Whether every error in float32 is at most a relative 1e-4, with a probability of 99%."""
    eigsh_difference: float
    """Largest relative difference from the values of `eigsh` in float32, from another random start."""


class TopReferences(StoredReferences[TopReference]):
    """References of the five largest eigenvalues."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, TopReference, compute)


def compute(snapshot: Snapshot, inputs: Tensor, labels: Tensor, seed: int = 0) -> TopReference:
    """Runs `top_eigenvalues` in float32 from a random start, then Rayleigh-Ritz in float64 in the space it found.

    A product in float64 takes five times as long, so most products are computed in float32. The error of a value in
    float64 is about its residual squared over the gap.
    """
    single = HessianOperator(snapshot.model, cross_entropy, (inputs, labels))
    draw = torch.Generator().manual_seed(100 + seed)
    rough = top_eigenvalues(single, COUNT, _TOLERANCE, _PRODUCTS, draw, coarse_fraction=None)
    model = copy.deepcopy(snapshot.model).double()
    double = HessianOperator(model, cross_entropy, (inputs.double(), labels))
    values, residuals = _rayleigh_ritz(double, rough.vectors.double())
    theirs = _eigsh(single, seed)
    return TopReference(
        name=snapshot.name,
        images=len(labels),
        values=values.tolist(),
        residuals=residuals.tolist(),
        converged=bool(rough.converged.all()),
        eigsh_difference=float(((theirs - values) / values).abs().max()),
    )


def _rayleigh_ritz(op: HessianOperator, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Descending Ritz values [k] and residuals [k] in the span of the columns of `basis`."""
    basis, _ = torch.linalg.qr(basis)
    with op.keeping_graphs():
        products = torch.stack([op.matvec(column) for column in basis.T], dim=1)
    projected = basis.T @ products
    values, rotation = torch.linalg.eigh((projected + projected.T) / 2.0)
    residuals = (products @ rotation - basis @ rotation * values).norm(dim=0)
    return values.flip(0), residuals.flip(0)


def _eigsh(op: HessianOperator, seed: int) -> Tensor:
    """Descending eigenvalues [k] by ARPACK."""

    def product(vector: np.ndarray) -> np.ndarray:
        return op.matvec(torch.from_numpy(vector.ravel().copy())).numpy()

    start = np.random.default_rng(200 + seed).standard_normal(op.size, dtype=np.float32)
    operator = LinearOperator((op.size, op.size), matvec=product, dtype=np.float32)
    with op.keeping_graphs():
        found = eigsh(
            operator, COUNT, which="LA", tol=_EIGSH_TOLERANCE, v0=start, ncv=min(op.size, 40), return_eigenvectors=False
        )
    return torch.tensor(sorted(found, reverse=True), dtype=torch.float64)

"""Spectra like those of networks, and exact distances from them."""

import torch
from torch import Tensor

from estimators.spectrum.quadrature import wasserstein
from tests.estimators.cases import seeded


def outliers_and_bulk(size: int = 300) -> Tensor:
    """Six outliers above a heavy-tailed bulk. A third of the bulk is zero. Ascending, float64."""
    bulk = torch.randn(size - 6, dtype=torch.float64, generator=seeded(3)) ** 3 / 100.0
    bulk[: size // 3] = 0.0
    return torch.cat([bulk, torch.tensor([1.0, 1.3, 1.9, 2.5, 2.6, 4.0], dtype=torch.float64)]).sort().values


def distance(nodes: Tensor, masses: Tensor, eigenvalues: Tensor) -> float:
    """Wasserstein-1 distance of a measure from the distribution of eigenvalues."""
    exact = torch.full_like(eigenvalues, -1.0 / len(eigenvalues))
    return wasserstein(torch.cat([nodes, eigenvalues]), torch.cat([masses, exact]))

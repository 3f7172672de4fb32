"""Matrices with planted eigenvalues."""

import torch
from torch import Tensor

from tests.estimators.cases import symmetric


def matrix_above_bulk(top: list[float], bulk: int = 200) -> Tensor:
    """A matrix with these eigenvalues and a bulk in [-0.1, 0.1]."""
    return symmetric(torch.cat([torch.tensor(top, dtype=torch.float64), torch.linspace(-0.1, 0.1, bulk).double()]))

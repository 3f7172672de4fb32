"""A subspace of another operator is refused."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from estimators.eigenvalues.lanczos_subspace import check_subspace
from tests.estimators.cases import MatrixOperator


@dataclass
class Subspace:
    basis: Tensor
    tridiagonal: Tensor


OP = MatrixOperator(torch.eye(4, dtype=torch.float64))


def test_a_subspace_of_the_operator_is_accepted() -> None:
    check_subspace(OP, Subspace(torch.eye(4, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("basis", "tridiagonal"),
    [
        (torch.eye(5, 2, dtype=torch.float64), torch.eye(2)),
        (torch.eye(4, 2), torch.eye(2)),
        (torch.eye(4, 2, dtype=torch.float64), torch.eye(3)),
    ],
)
def test_another_one_is_refused(basis: Tensor, tridiagonal: Tensor) -> None:
    with pytest.raises(ValueError, match=r"deflate has a basis of shape .* expected \[4, k\]"):
        check_subspace(OP, Subspace(basis, tridiagonal))

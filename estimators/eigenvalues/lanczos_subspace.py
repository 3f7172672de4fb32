"""The subspace of a Lanczos run that other algorithms deflate."""

from typing import Protocol

from torch import Tensor

from estimators.operators.protocols import SymmetricOperator


class LanczosSubspace(Protocol):
    """A subspace and the matrix in it, for example an `estimators.LanczosResult`."""

    @property
    def basis(self) -> Tensor:
        """Q [size, k], orthonormal columns."""

    @property
    def tridiagonal(self) -> Tensor:
        """Q'AQ [k, k], float64 on the CPU."""


def check_subspace(op: SymmetricOperator, deflate: LanczosSubspace) -> None:
    """Raises ValueError if the subspace does not fit the operator."""
    rows, columns = deflate.basis.shape
    found = (rows, deflate.basis.dtype, deflate.basis.device)
    if found != (op.size, op.dtype, op.device) or deflate.tridiagonal.shape != (columns, columns):
        raise ValueError(
            f"deflate has a basis of shape {(rows, columns)}, {found[1]}, {found[2]} and a tridiagonal of shape"
            f" {tuple(deflate.tridiagonal.shape)}, expected [{op.size}, k], {op.dtype}, {op.device} and [k, k]:"
            " pass a Lanczos result of this operator"
        )

"""Inner products of long vectors, accurate to the rounding of their dtype.

The error of a float32 sum grows with the number of terms. On a CPU, torch's norm of vectors with a million entries was
wrong by up to 7e-5, which changed lambda_max by 6e-5. Here, sums of parts are added in float64.
"""

import torch
from torch import Tensor

# Number of entries that are added in the dtype of the vectors. Shorter vectors have the bits of torch's own functions.
_PART = 2**13


def norm(vector: Tensor) -> Tensor:
    """||v|| of a vector [size], as a float64 scalar."""
    parts = [torch.linalg.vector_norm(part, dim=-1).double().reshape(-1) for part in _parts(vector)]
    norms = torch.cat(parts)
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(norms)


def dot(first: Tensor, second: Tensor) -> Tensor:
    """V'w of two vectors [size], as a float64 scalar."""
    sums = [_dots(one, other).double().sum() for one, other in zip(_parts(first), _parts(second), strict=True)]
    return torch.stack(sums).sum()


def coefficients(rows: Tensor, vector: Tensor) -> Tensor:
    """The products [k] of rows [k, size] with a vector [size], in the dtype of the vector."""
    pairs = zip(rows.split(_PART, dim=1), vector.split(_PART), strict=True)
    parts = [part @ other for part, other in pairs]
    return parts[0] if len(parts) == 1 else torch.stack(parts).double().sum(dim=0).to(vector.dtype)


def _parts(vector: Tensor) -> list[Tensor]:
    """The whole parts of a vector as rows [k, part], if there are any, and the rest."""
    whole = len(vector) // _PART * _PART
    rows = [vector[:whole].view(-1, _PART)] if whole else []
    return rows if whole == len(vector) else [*rows, vector[whole:]]


def _dots(first: Tensor, second: Tensor) -> Tensor:
    if first.ndim == 1:
        return torch.dot(first, second)
    return torch.bmm(first.unsqueeze(1), second.unsqueeze(2))

"""tr(J'BJ) without a root of the loss's Hessian B, for losses with many outputs and no closed form."""

import torch
from torch import Tensor

from estimators.trace.roots.output_hessian import OutputHessian
from estimators.trace.roots.root import LossRoot


class BilinearRoot(LossRoot):
    """Pairs of vectors with signs +1 and -1 whose squared norms differ by <J'Be, J'e>, where B is d2l_n/dz_n2.

    <x, y> = ||(x + y) / 2||^2 - ||(x - y) / 2||^2, and the mean of <J'Be, J'e> over random signs e is tr(J'BJ). Only
    products with B are needed, never the matrix. Sampled traces have a higher variance than with a root, because
    tr(B^2 M^2) >= tr(BMBM) for M = JJ'. The columns are the pairs for all unit vectors e, two columns per output.

    Args:
        hessian: B.
        dtype: dtype of the vectors.
    """

    def __init__(self, hessian: OutputHessian, dtype: torch.dtype) -> None:
        self._hessian, self._dtype = hessian, dtype
        self.signs = hessian.outputs[0].numel()
        self.count = 2 * self.signs
        self._last: tuple[int, tuple[Tensor, Tensor]] | None = None

    def column(self, index: int) -> tuple[Tensor, float]:
        """One vector of the pair of output ``index // 2``."""
        output, second = divmod(index, 2)
        if self._last is None or self._last[0] != output:
            one = torch.zeros_like(self._hessian.outputs).reshape(len(self._hessian.outputs), -1)
            one[:, output] = 1.0
            self._last = output, self._pair(one)
        return self._last[1][second], -1.0 if second else 1.0

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """The pair of vectors for the signs."""
        total, difference = self._pair(signs)
        return [(total, 1.0), (difference, -1.0)]

    def _pair(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        vectors = vectors.to(self._hessian.outputs.dtype).reshape(self._hessian.outputs.shape)
        images = self._hessian.product(vectors)
        # Vectors of equal length lose the fewest digits in the difference of the norms.
        ratio = (_lengths(images) / _lengths(vectors)).sqrt()
        scale = torch.where(ratio == 0.0, 1.0, ratio)
        vectors, images = vectors * scale, images / scale
        return ((vectors + images) / 2).to(self._dtype), ((vectors - images) / 2).to(self._dtype)


def _lengths(vectors: Tensor) -> Tensor:
    """The lengths of [n, ...], in a shape that broadcasts to it."""
    lengths: Tensor = torch.linalg.vector_norm(vectors.reshape(len(vectors), -1), dim=1)
    return lengths.reshape(-1, *(1 for _ in vectors.shape[1:]))

"""Recognises losses by what they compute: products with their Hessians in the outputs against the closed forms.

A product with a random vector equals a closed form's product only if the two matrices are equal, up to rounding and
with probability one. Losses are evaluated in float64, at the outputs of every sample. Vectors do not depend on torch's
global generators. A loss that does not accept float64 is not recognised.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import blocks
from estimators.problem.checks import LossFunction
from estimators.problem.loss.loss_precision import Float64Loss
from estimators.trace.roots.output_hessian import OutputHessian, as_blocks, from_blocks

# Largest error of a product, relative to the largest entry of a sample's product.
_TOLERANCE = 1e-10
# Rounding of a product with diag(p) - pp', in units of the largest p. If p saturates, the product itself is smaller.
_ROUNDING = 64.0 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class SoftmaxForm:
    """The Hessian w (diag(p) - pp') of a loss at each position, with p the softmax along ``dim``."""

    dim: int
    weights: Tensor
    """w, float64, in the shape of the outputs with one entry along ``dim``."""


def softmax_form(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> SoftmaxForm | None:
    """The form of a loss that is a weighted sum of cross-entropies over positions; None for other losses.

    The classes are in the last dimension or in dimension 1. The weights contain any factor, padding and class weights.
    They are taken at random outputs, where no probability saturates. The form is then checked at other random outputs
    and at the outputs themselves.
    """
    dims = [dim for dim in dict.fromkeys((outputs.ndim - 1, 1)) if 1 <= dim < outputs.ndim and outputs.shape[dim] > 1]
    found: list[SoftmaxForm] = []
    try:
        for part in blocks(len(outputs), 16 * outputs[0].numel(), outputs):
            form = _softmax_form(Float64Loss(loss_fn), outputs[part].double(), targets[part], dims)
            if form is None:
                return None
            found, dims = [*found, form], [form.dim]
    except Exception:  # Errors of the loss itself are raised when it is evaluated.
        return None
    return SoftmaxForm(found[0].dim, torch.cat([form.weights for form in found]))


def diagonal_form(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> Tensor | None:
    """The diagonal [n, ...] of the Hessian, float64, if there are no other entries at these outputs; otherwise None."""
    found: list[Tensor] = []
    try:
        for part in blocks(len(outputs), 16 * outputs[0].numel(), outputs):
            hessian = OutputHessian(Float64Loss(loss_fn), outputs[part].double(), targets[part])
            vectors = _Vectors(outputs[part])()
            diagonal, product = hessian.product(torch.ones_like(vectors)), hessian.product(vectors)
            if not _equal(product, diagonal * vectors):
                return None
            found.append(diagonal)
    except Exception:  # Errors of the loss itself are raised when it is evaluated.
        return None
    return torch.cat(found)


def block_form(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, max_entries: int) -> tuple[int, Tensor] | None:
    """The dimension of the outputs of a block, and the blocks [n, positions, C, C] of the Hessian, in float64.

    None if the Hessian couples positions, or the blocks of a sample have more than ``max_entries`` entries.
    """
    if outputs.ndim < 3:
        return None
    try:
        hessian = OutputHessian(Float64Loss(loss_fn), outputs.double(), targets)
        draw = _Vectors(outputs)
        first, second = draw(), draw()
        for dim in (outputs.ndim - 1, 1):
            if outputs[0].numel() * outputs.shape[dim] > max_entries or not _has_blocks(hessian, first, dim):
                continue
            matrices = hessian.blocks(dim)
            images = (matrices @ as_blocks(second, dim).unsqueeze(3)).squeeze(3)
            if _equal(hessian.product(second), from_blocks(images, second, dim)):
                return dim, matrices
    except Exception:  # Errors of the loss itself are raised when it is evaluated.
        return None
    return None


def _softmax_form(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, dims: list[int]) -> SoftmaxForm | None:
    """As `softmax_form`, for outputs and a loss in float64 and the dimensions to try."""
    draw = _Vectors(outputs)
    point, vector = 2.0 * draw(), draw()
    product = OutputHessian(loss_fn, point, targets).product(vector)
    for dim in dims:
        expected, _ = _softmax_product(point, vector, dim)
        weights = (product * expected).sum(dim, keepdim=True) / expected.square().sum(dim, keepdim=True)
        if _equal(product, expected.mul_(weights)) and bool((weights >= 0.0).all() & weights.any()):
            del point, vector, product, expected
            sums = [_sums_if_confirmed(loss_fn, other, targets, draw(), dim, weights) for other in (draw(), outputs)]
            # NaN outputs have a NaN Hessian.
            return None if sums[0] is None or sums[1] is None else SoftmaxForm(dim, weights + 0.0 * sums[1])
    return None


def _sums_if_confirmed(
    loss_fn: LossFunction, outputs: Tensor, targets: Tensor, vector: Tensor, dim: int, weights: Tensor
) -> Tensor | None:
    """The sums along ``dim`` of the product of a loss's Hessian, or None if the weights do not give this product."""
    found = OutputHessian(loss_fn, outputs, targets).product(vector)
    expected, largest = _softmax_product(outputs, vector, dim)
    same = _equal(found, expected.mul_(weights), _ROUNDING * weights * largest)
    return found.sum(dim, keepdim=True) if same else None


def _softmax_product(outputs: Tensor, vectors: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(diag(p) - pp') v at each position, and the largest p."""
    p = outputs.softmax(dim)
    largest, product = p.amax(dim, keepdim=True), p * vectors
    # Works in place: with a large vocabulary, these are the largest tensors of a trace.
    return product.sub_(p.mul_(product.sum(dim, keepdim=True))), largest


def _has_blocks(hessian: OutputHessian, vectors: Tensor, dim: int) -> bool:
    """Whether the product with a vector that is zero at every second position is zero there as well."""
    inside = torch.zeros_like(vectors)
    as_blocks(inside, dim)[:, ::2] = 1.0
    product = hessian.product(vectors * inside)
    return _equal(product, product * inside)


def _equal(found: Tensor, expected: Tensor, rounding: Tensor | None = None) -> bool:
    """Whether the products [n, ...] of every sample are equal. NaN equals NaN."""
    size, change = _largest(expected), _largest(found - expected)
    allowed = _TOLERANCE * size if rounding is None else _TOLERANCE * size + _largest(rounding)
    return bool(((change <= allowed) | (size.isnan() & _largest(found).isnan())).all())


def _largest(numbers: Tensor) -> Tensor:
    """The largest absolute value of each sample [n]."""
    largest: Tensor = torch.linalg.vector_norm(numbers.reshape(len(numbers), -1), math.inf, dim=1)
    return largest


class _Vectors:
    """Draws random tensors in the shape of the outputs, float64, with entries in [-1, 1)."""

    def __init__(self, outputs: Tensor) -> None:
        self._shape, self._device = outputs.shape, outputs.device
        self._generator = torch.Generator().manual_seed(0)

    def __call__(self) -> Tensor:
        """The next tensor."""
        drawn = torch.empty(self._shape, dtype=torch.float64).uniform_(-1.0, 1.0, generator=self._generator)
        return drawn.to(self._device)

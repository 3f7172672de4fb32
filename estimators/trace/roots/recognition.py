"""Recognises losses by what they compute: products with their Hessians in the outputs against the closed forms.

A product with a random vector equals a closed form's product only if the two matrices are equal, up to rounding and
with probability one. Losses are evaluated in float64, at the outputs of every sample. Vectors do not depend on torch's
global generators. A loss that does not accept float64 is not recognised.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from estimators.kernels.blocks import blocks
from estimators.problem.checks import LossFunction
from estimators.problem.loss.loss_precision import Float64Loss
from estimators.trace.roots.output_hessian import OutputHessian, as_blocks, from_blocks

# Largest error of a product, relative to the largest entry of a sample's product.
_TOLERANCE = 1e-10
# Rounding of a product with diag(p) - pp' in units of its largest term. If p saturates, the product itself is smaller.
_ROUNDING = 64.0 * torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class SoftmaxForm:
    """The Hessian w (diag(p) - pp') of a loss at each position, with p the softmax along ``dim``."""

    dim: int
    weights: Tensor
    """w, float64, in the shape of the outputs with one entry along ``dim``."""

    def __getitem__(self, part: slice) -> "SoftmaxForm":
        return SoftmaxForm(self.dim, self.weights[part])


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
            (vectors,) = _drawn(outputs[part], 1)
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
        first, second = _drawn(outputs, 2)
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
    first, second, *vectors = _drawn(outputs, 5)
    point = 2.0 * first
    product = OutputHessian(loss_fn, point, targets).product(vectors[0])
    for dim in dims:
        expected, _ = _softmax_product(point, vectors[0], dim)
        weights = (product * expected).sum(dim, keepdim=True) / expected.square().sum(dim, keepdim=True)
        if not _equal(product, weights * expected) or not bool((weights >= 0.0).all()) or not bool(weights.any()):
            continue
        for other, vector in ((second, vectors[1]), (outputs, vectors[2])):
            found = OutputHessian(loss_fn, other, targets).product(vector)
            expected, terms = _softmax_product(other, vector, dim)
            if not _equal(found, weights * expected, _ROUNDING * weights * terms):
                return None
        # NaN outputs have a NaN Hessian.
        return SoftmaxForm(dim, weights + 0.0 * found.sum(dim, keepdim=True))
    return None


def _softmax_product(outputs: Tensor, vectors: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(diag(p) - pp') v at each position, and the sum of the absolute values of its terms."""
    p = outputs.softmax(dim)
    weighted, absolute = p * vectors, p * vectors.abs()
    return (
        weighted - p * weighted.sum(dim, keepdim=True),
        absolute + p * absolute.sum(dim, keepdim=True),
    )


def _has_blocks(hessian: OutputHessian, vectors: Tensor, dim: int) -> bool:
    """Whether the product with a vector that is zero at every second position is zero there as well."""
    inside = torch.zeros_like(vectors)
    as_blocks(inside, dim)[:, ::2] = 1.0
    product = hessian.product(vectors * inside)
    return _equal(product, product * inside)


def _equal(found: Tensor, expected: Tensor, rounding: Tensor | None = None) -> bool:
    """Whether the products [n, ...] of every sample are equal. NaN equals NaN."""
    found, expected = found.reshape(len(found), -1), expected.reshape(len(found), -1)
    allowed = _TOLERANCE * expected.abs().amax(dim=1)
    if rounding is not None:
        allowed = allowed + rounding.reshape(len(found), -1).amax(dim=1)
    same = (found - expected).abs().amax(dim=1) <= allowed
    return bool((same | (found.isnan().any(dim=1) & expected.isnan().any(dim=1))).all())


def _drawn(outputs: Tensor, count: int) -> list[Tensor]:
    """Random vectors in the shape of the outputs, float64, with entries in [-1, 1)."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.rand(count, *outputs.shape, generator=generator, dtype=torch.float32)
    return list(vectors.mul_(2.0).sub_(1.0).to(outputs.device, torch.float64))

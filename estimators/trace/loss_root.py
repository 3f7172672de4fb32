"""Roots of a loss's Hessian with respect to the outputs, per sample: S_n with S_n diag(sign_n) S_n' = d2l_n/dz_n2.

Here l_n is the loss of sample n, and the loss is the mean of all l_n. tr(GGN_n) is the sum over the columns s of S_n of
sign ||J_n's||^2. With independent random signs e, ||J_n'S_n e||^2 has the same expectation (the factorisation of
Schraudolph, 2002; Dangel et al., 2020, section 2.3).
"""

from torch import Tensor

from estimators.problem.checks import LossFunction
from estimators.problem.loss.loss_precision import needs_float64
from estimators.problem.loss.targets import check_targets, is_cross_entropy, is_mse
from estimators.trace.roots.bilinear import BilinearRoot
from estimators.trace.roots.diagonal import DiagonalRoot, SquaredErrorRoot
from estimators.trace.roots.eigen import EigenRoot
from estimators.trace.roots.output_hessian import OutputHessian
from estimators.trace.roots.recognition import block_form, diagonal_form, softmax_form
from estimators.trace.roots.root import Float64Root, LossRoot
from estimators.trace.roots.softmax import SoftmaxRoot, target_weights

# Maximum number of entries in the blocks of a sample that an exact trace decomposes. They take 32 MB in float64; one
# block of this size takes seconds.
MAX_ENTRIES = 2_000**2


def loss_root(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, max_entries: int = MAX_ENTRIES) -> LossRoot:
    """The root of a mean loss at outputs [n, ...].

    It has a closed form if the loss is a weighted sum of cross-entropies over positions, or a sum over outputs such as
    a squared error. Such losses are recognised by their products (`estimators.trace.roots.recognition`), so they may be
    wrapped, scaled or masked. For other losses, it is computed by eigendecompositions: of one block per position, if
    the loss is a sum over positions, otherwise of all outputs of a sample. Blocks are not decomposed if those of a
    sample have more than ``max_entries`` entries; then pairs of vectors take the place of the root's columns
    (`BilinearRoot`). The root is computed in float64 if float32 is too coarse
    (`estimators.problem.loss.loss_precision`).

    Raises:
        ValueError: if the targets do not fit.
    """
    outputs = outputs.detach()
    check_targets(loss_fn, outputs, targets)
    if is_mse(loss_fn) and outputs.shape == targets.shape:
        return SquaredErrorRoot(outputs)
    if is_cross_entropy(loss_fn) and outputs.ndim > 1:
        logits, wanted = _precise(loss_fn, outputs, targets)
        return _rounded(SoftmaxRoot(logits, target_weights(loss_fn, wanted, logits.dtype), 1), logits, outputs)
    form = softmax_form(loss_fn, outputs, targets)
    if form is not None:
        logits, _ = _precise(loss_fn, outputs, targets)
        return _rounded(SoftmaxRoot(logits, form.weights.to(logits.dtype), form.dim), logits, outputs)
    diagonal = diagonal_form(loss_fn, outputs, targets)
    if diagonal is not None:
        return DiagonalRoot(diagonal, outputs.dtype)
    blocks = block_form(loss_fn, outputs, targets, max_entries)
    if blocks is not None:
        dim, matrices = blocks
        return EigenRoot(matrices, outputs, dim)
    return _general_root(loss_fn, outputs, targets, max_entries)


def _general_root(loss_fn: LossFunction, outputs: Tensor, targets: Tensor, max_entries: int) -> LossRoot:
    precise, wanted = _precise(loss_fn, outputs, targets)
    hessian = OutputHessian(loss_fn, precise, wanted)
    if outputs[0].numel() ** 2 > max_entries:
        return BilinearRoot(hessian, outputs.dtype)
    return _rounded(EigenRoot(hessian.blocks(None), precise, None), precise, outputs)


def _precise(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and targets in float64 if rounding of float32 is visible, otherwise unchanged."""
    if not needs_float64(loss_fn, outputs, targets):
        return outputs, targets
    return outputs.double(), targets.double() if targets.is_floating_point() else targets


def _rounded(root: LossRoot, precise: Tensor, outputs: Tensor) -> LossRoot:
    """The root at ``precise`` outputs, with columns of the dtype of ``outputs``."""
    return root if precise.dtype == outputs.dtype else Float64Root(root, outputs.dtype)

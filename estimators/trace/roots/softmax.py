"""The root of the Hessian of cross-entropy, which has a closed form."""

import math

import torch
from torch import Tensor

from estimators.problem.checks import LossFunction
from estimators.problem.loss.targets import ignored_class
from estimators.trace.roots.root import LossRoot


class SoftmaxRoot(LossRoot):
    """Root of diag(p) - pp' for the C logits along ``dim`` at each position, times the weight of the position.

    The columns are its Cholesky factor and number C - 1 per position (Tanabe & Sagae, 1992): with r_c = p_c + ... +
    p_C, s_c = sqrt(p_c r_{c+1} / r_c) (e_c - sum_{j>c} p_j / r_{c+1} e_j). They are computed from logarithms, which
    stay finite if p saturates. Combinations use the root with columns sqrt(p_c) (e_c - p), which needs one sign per
    class and no loop. Signs are drawn in the order [n, C, ...] for any ``dim``, so a layout does not change the result.

    Args:
        outputs: the logits.
        weights: the weights of the positions, in the shape of the outputs with one entry along ``dim``.
        dim: the dimension of the classes, at least 1.
    """

    def __init__(self, outputs: Tensor, weights: Tensor, dim: int) -> None:
        self._outputs, self._dim = outputs, dim
        self._log = outputs.log_softmax(dim=dim)
        self._log_rest: Tensor | None = None
        self._classes = outputs.shape[dim]
        self._positions = outputs[0].numel() // self._classes
        self.count, self.signs = (self._classes - 1) * self._positions, outputs[0].numel()
        self._scale = weights.sqrt()

    def column(self, index: int) -> tuple[Tensor, float]:
        """A column of the Cholesky factor of one position."""
        if self._log_rest is None:
            # log r, summed from the last class backwards.
            self._log_rest = self._log.flip(self._dim).logcumsumexp(self._dim).flip(self._dim)
        position, c = divmod(index, self._classes - 1)
        log, log_rest, scale = (
            part.movedim(self._dim, 1).reshape(len(part), part.shape[self._dim], -1)[:, :, position]
            for part in (self._log, self._log_rest, self._scale)
        )
        length = ((log[:, c] + log_rest[:, c + 1] - log_rest[:, c]) / 2).exp() * scale[:, 0]
        others = -length.unsqueeze(1) * (log[:, c + 1 :] - log_rest[:, c + 1, None]).exp()
        # Scores of excluded classes may be -inf. The column is zero if all later classes are excluded.
        excluded = log_rest[:, c + 1] == -math.inf
        column = self._outputs.new_zeros(len(log), self._classes, self._positions)
        column[:, c, position] = torch.where(excluded, 0.0, length)
        column[:, c + 1 :, position] = torch.where(excluded.unsqueeze(1), 0.0, others)
        return self._as_outputs(column), 1.0

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """The columns sqrt(p_c) (e_c - p) of all positions, summed with their signs."""
        # Works in place: with a large vocabulary, these are the largest tensors of a trace.
        roots = (self._log / 2).exp_().mul_(self._as_outputs(signs))
        centred = roots.sub_(self._log.exp().mul_(roots.sum(dim=self._dim, keepdim=True)))
        return [(centred.mul_(self._scale), 1.0)]

    def _as_outputs(self, numbers: Tensor) -> Tensor:
        """Numbers in the order [n, C, ...], in the layout of the outputs."""
        shape = self._outputs.movedim(self._dim, 1).shape
        return numbers.reshape(shape).movedim(1, self._dim)


def target_weights(loss_fn: LossFunction, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights [n, 1, ...] of the positions in torch's cross-entropy. Label smoothing does not change this Hessian."""
    if targets.is_floating_point():
        smoothing = getattr(loss_fn, "label_smoothing", 0.0)
        # Class probabilities need not sum to one. Label smoothing mixes in a distribution that does.
        mass = (1.0 - smoothing) * targets.sum(dim=1, keepdim=True) + smoothing
        return mass / mass[0, 0].numel()
    counted = (targets != ignored_class(loss_fn)).unsqueeze(1).to(dtype)
    # The loss is a mean over the positions that are not ignored. It is NaN if there are none.
    return counted / counted.sum(dim=tuple(range(1, counted.ndim)), keepdim=True)

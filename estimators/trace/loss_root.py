"""Roots of a loss's Hessian with respect to the outputs, per sample: S_n with S_n diag(sign_n) S_n' = d2l_n/dz_n2.

Here l_n is the loss of sample n, and the loss is the mean of all l_n. tr(GGN_n) is the sum over the columns s of S_n of
sign ||J_n's||^2. With independent random signs e, ||J_n'S_n e||^2 has the same expectation (the factorisation of
Schraudolph, 2002; Dangel et al., 2020, section 2.3).
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from estimators.problem.checks import LossFunction
from estimators.problem.loss.loss_precision import needs_float64
from estimators.problem.loss.targets import check_targets, ignored_class, is_cross_entropy, is_mse

# The general root decomposes an [outputs, outputs] matrix per sample. 2,000 outputs take 32 MB and seconds per sample.
_MAX_OUTPUTS = 2_000


class LossRoot(ABC):
    """S [n, outputs, count] for the n samples of a chunk, by column. A column has the shape of the outputs."""

    count: int
    """Number of columns."""
    signs: int
    """Random signs per sample in a combination. Equals the number of outputs per sample, not ``count``."""

    @abstractmethod
    def column(self, index: int) -> tuple[Tensor, Tensor | float]:
        """Returns one column [n, ...] and the sign of its squared norms: [n], or one for all samples."""

    @abstractmethod
    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        """Returns S e for signs e [n, ``signs``] as vectors [n, ...], each with the sign of its squared norms."""


def loss_root(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> LossRoot:
    """The root of a mean loss at outputs [n, ...].

    It has a closed form if ``loss_fn`` is torch's cross_entropy or mse_loss, or their module. Otherwise it is computed
    by an eigendecomposition, also for a function that calls one of these losses. The root is computed in float64 if
    float32 is too coarse (`estimators.problem.loss.loss_precision`).

    Raises:
        ValueError: if the targets do not fit, or the general root is needed for more than 2,000 outputs per sample.
    """
    outputs = outputs.detach()
    check_targets(loss_fn, outputs, targets)
    if is_mse(loss_fn) and outputs.shape == targets.shape:
        return _SquaredErrorRoot(outputs)
    root = _CrossEntropyRoot.of if is_cross_entropy(loss_fn) and outputs.ndim > 1 else _GeneralRoot
    if needs_float64(loss_fn, outputs, targets):
        targets = targets.double() if targets.is_floating_point() else targets
        return _Float64Root(root(loss_fn, outputs.double(), targets), outputs.dtype)
    return root(loss_fn, outputs, targets)


class _Float64Root(LossRoot):
    """A root that is computed in float64, with columns and combinations rounded to float32."""

    def __init__(self, root: LossRoot, dtype: torch.dtype) -> None:
        self._root, self._dtype = root, dtype
        self.count, self.signs = root.count, root.signs

    def column(self, index: int) -> tuple[Tensor, Tensor | float]:
        column, sign = self._root.column(index)
        return column.to(self._dtype), sign

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        return [(vector.to(self._dtype), sign) for vector, sign in self._root.combinations(signs.double())]


def _target_weights(targets: Tensor, smoothing: float, ignored: int, dtype: torch.dtype) -> Tensor:
    """Weights [n, 1, ...] of the positions in cross-entropy, as factors of the Hessian in their scores."""
    if targets.is_floating_point():
        # Class probabilities need not sum to one. Label smoothing mixes in a distribution that does.
        mass = (1.0 - smoothing) * targets.sum(dim=1, keepdim=True) + smoothing
        return mass / mass[0, 0].numel()
    counted = (targets != ignored).unsqueeze(1).to(dtype)
    # The loss is a mean over the positions that are not ignored. It is NaN if there are none.
    return counted / counted.sum(dim=tuple(range(1, counted.ndim)), keepdim=True)


class _CrossEntropyRoot(LossRoot):
    """Root of diag(p) - pp' for scores [n, C, ...] at each position in ``...``, times its weight [n, 1, ...].

    The columns are its Cholesky factor and number C - 1 for C classes (Tanabe & Sagae, 1992): with r_c = p_c + ... +
    p_C, s_c = sqrt(p_c r_{c+1} / r_c) (e_c - sum_{j>c} p_j / r_{c+1} e_j). They are computed from logarithms, which
    stay finite if p saturates. Combinations use the root with columns sqrt(p_c) (e_c - p), which needs one sign per
    class and no loop. Label smoothing does not change this Hessian.
    """

    def __init__(self, outputs: Tensor, weights: Tensor) -> None:
        self._outputs = outputs
        self._log = outputs.log_softmax(dim=1)
        # log r, summed from the last class backwards.
        self._log_rest = self._log.flip(1).logcumsumexp(1).flip(1)
        self._classes = outputs.shape[1]
        self._positions = outputs[0, 0].numel()
        self.count, self.signs = (self._classes - 1) * self._positions, outputs[0].numel()
        self._scale = weights.sqrt()

    @classmethod
    def of(cls, loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> "_CrossEntropyRoot":
        """The root of cross_entropy or its module."""
        smoothing = getattr(loss_fn, "label_smoothing", 0.0)
        return cls(outputs, _target_weights(targets, smoothing, ignored_class(loss_fn), outputs.dtype))

    def column(self, index: int) -> tuple[Tensor, float]:
        position, c = divmod(index, self._classes - 1)
        log, log_rest, scale = (
            part.reshape(*part.shape[:2], -1)[:, :, position] for part in (self._log, self._log_rest, self._scale)
        )
        length = ((log[:, c] + log_rest[:, c + 1] - log_rest[:, c]) / 2).exp() * scale[:, 0]
        column = self._outputs.new_zeros(len(log), self._classes, self._positions)
        column[:, c, position] = length
        column[:, c + 1 :, position] = -length.unsqueeze(1) * (log[:, c + 1 :] - log_rest[:, c + 1, None]).exp()
        return column.reshape(self._outputs.shape), 1.0

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        roots = (self._log / 2).exp() * signs.reshape(self._outputs.shape)
        centred = roots - self._log.exp() * roots.sum(dim=1, keepdim=True)
        return [(self._scale * centred, 1.0)]


class _SquaredErrorRoot(LossRoot):
    """Root of (2 / K) I for K outputs per sample, because the mean squared error is also a mean over outputs."""

    def __init__(self, outputs: Tensor) -> None:
        self._outputs = outputs
        self.count = self.signs = outputs[0].numel()

    def column(self, index: int) -> tuple[Tensor, float]:
        column = torch.zeros_like(self._outputs).reshape(len(self._outputs), -1)
        column[:, index] = math.sqrt(2.0 / self.count)
        return column.reshape(self._outputs.shape), 1.0

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        return [(math.sqrt(2.0 / self.count) * signs.reshape(self._outputs.shape), 1.0)]


class _GeneralRoot(LossRoot):
    """U sqrt|L| with the eigenvalues L and eigenvectors U of d2l_n/dz_n2, found by differentiating the loss twice.

    If the loss is not convex in the outputs, the column of a negative eigenvalue has sign -1. Synchronizes with the
    device once, to count the nonzero columns.
    """

    def __init__(self, loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> None:
        hessians = _output_hessians(loss_fn, outputs, targets).double()
        finite = hessians.isfinite().all(dim=2).all(dim=1)
        values, columns = torch.linalg.eigh(torch.where(finite[:, None, None], hessians, 0.0))
        # Eigenvalues below the rounding of the loss are indistinguishable from zero.
        rounding = 8.0 * torch.finfo(outputs.dtype).eps * values.abs().amax(dim=1, keepdim=True)
        values = torch.where(values.abs() > rounding, values, 0.0)
        # Sorted by magnitude, so that columns that are zero for every sample come last and can be dropped.
        order = values.abs().argsort(dim=1, descending=True)
        values = values.gather(1, order)
        self.count, self.signs = int((values != 0).any(dim=0).sum()), values.shape[1]
        values = torch.where(finite[:, None], values, math.nan)[:, : self.count].to(outputs.dtype)
        columns = columns.gather(2, order.unsqueeze(1).expand_as(columns))
        self._vectors, self._values = columns[:, :, : self.count].to(outputs.dtype), values
        self._shape, self._has_negative = outputs.shape, bool((values < 0).any())

    def column(self, index: int) -> tuple[Tensor, Tensor | float]:
        values = self._values[:, index]
        return (self._vectors[:, :, index] * values.abs().sqrt().unsqueeze(1)).reshape(self._shape), values.sign()

    def combinations(self, signs: Tensor) -> list[tuple[Tensor, float]]:
        # The symmetric root does not depend on the choice of eigenvectors of a repeated eigenvalue.
        weights = self._values.abs().sqrt() * (self._vectors.mT @ signs.unsqueeze(2)).squeeze(2)
        parts = [(self._values < 0, -1.0)] if self._has_negative else []
        return [
            ((self._vectors @ torch.where(chosen, weights, 0.0).unsqueeze(2)).reshape(self._shape), sign)
            for chosen, sign in [(~(self._values < 0), 1.0), *parts]
        ]


def _output_hessians(loss_fn: LossFunction, outputs: Tensor, targets: Tensor) -> Tensor:
    """d2l_n/dz_n2 [n, outputs, outputs], computed with one backward pass through the loss per output."""
    count, size = len(outputs), outputs[0].numel()
    if size > _MAX_OUTPUTS:
        raise ValueError(
            f"the model has {size} outputs per sample, expected at most {_MAX_OUTPUTS} for a loss without a closed-form"
            " Hessian: pass nn.functional.cross_entropy or mse_loss itself if that is the loss, or use hutchinson with"
            " a GaussNewtonOperator"
        )
    flat = outputs.reshape(count, size).clone().requires_grad_()
    rows = torch.zeros(count, size, size, dtype=outputs.dtype, device=outputs.device)
    loss = loss_fn(flat.reshape(outputs.shape), targets).reshape(())
    if not loss.requires_grad:
        return rows
    # Samples are independent: with respect to one sample's outputs, n times the mean has the gradient of its loss.
    (gradient,) = torch.autograd.grad(loss * count, flat, create_graph=True)
    if not gradient.requires_grad:
        return rows
    for index in range(size):
        (row,) = torch.autograd.grad(gradient[:, index].sum(), flat, retain_graph=True, allow_unused=True)
        if row is not None:
            rows[:, index] = row
    return (rows + rows.transpose(1, 2)) / 2

"""The generalised Gauss-Newton matrix of a mean loss, by its products with a vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from estimators.operators.graph_cache import ChunkGraph
from estimators.operators.hessian import HessianOperator
from estimators.problem.checks import LossFunction


class GaussNewtonOperator(HessianOperator):
    """G [size, size] = mean over samples of J_n'(d2l_n/dz_n2)J_n: the Hessian without the network's own curvature.

    J_n is the Jacobian of sample n's outputs z_n in the parameters, l_n its loss (Schraudolph, 2002). G is positive
    semidefinite where the loss is convex in the outputs, and equal to the Fisher matrix for cross-entropy (Martens,
    2020). Arguments, order of vectors, subsets, counts, kept graphs and refusals are those of
    :class:`estimators.HessianOperator`, to which it is related by H = G + sum over outputs of dL/dz_c d2z_c.

    A product costs 7F, 4F where graphs are kept: 3F for the outputs and the graph of J'u, which is linear in u, 2F to
    differentiate it for J times the vector, 2F for J' again.

    >>> model = nn.Linear(3, 1)
    >>> op = GaussNewtonOperator(model, nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> op @ torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensor([2., 2., 2., 2.])
    """

    def _graph_of(self, outputs: Tensor, loss: Tensor, targets: Tensor) -> ChunkGraph:
        return _JacobianGraph.of(self._loss_fn, outputs, targets, self._parameters)


@dataclass(frozen=True)
class _JacobianGraph:
    """A chunk's outputs z, J'u for a placeholder u, and the loss's gradient in z: each with its graph."""

    samples: int
    outputs: Tensor
    direction: Tensor
    """u, shaped like the outputs."""
    transposed: dict[int, Tensor]
    """J'u by the parameter's position, where the outputs depend on it."""
    loss_leaf: Tensor
    """The outputs, cut off from the network."""
    loss_gradient: Tensor | None
    """In ``loss_leaf``, without a graph where that is constant; None where the loss does not depend on the outputs."""
    parameters: Sequence[nn.Parameter]

    @classmethod
    def of(
        cls, loss_fn: LossFunction, outputs: Tensor, targets: Tensor, parameters: Sequence[nn.Parameter]
    ) -> "_JacobianGraph":
        """The graphs after a forward pass."""
        # Not forward mode, which some layers lack: whatever has a Hessian-vector product has this.
        direction = torch.zeros_like(outputs, requires_grad=True)
        transposed: Sequence[Tensor | None] = []
        if outputs.requires_grad:
            transposed = torch.autograd.grad(outputs, parameters, direction, create_graph=True, allow_unused=True)
        leaf = outputs.detach().requires_grad_()
        depending = {i: t for i, t in enumerate(transposed) if t is not None and t.requires_grad}
        gradient = _gradient(loss_fn(leaf, targets).reshape(()), leaf)
        return cls(len(outputs), outputs, direction, depending, leaf, gradient, parameters)

    @property
    def held(self) -> Sequence[Tensor]:
        """All that it names."""
        gradient = [] if self.loss_gradient is None else [self.loss_gradient]
        return [self.outputs, self.direction, self.loss_leaf, *gradient, *self.transposed.values()]

    def add_product(self, vector: Sequence[Tensor], result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Does result += weight * J'(Hessian of the loss in the outputs)J vector: 4F."""
        if not self.transposed or self.loss_gradient is None or not self.loss_gradient.requires_grad:
            return
        (jacobian_product,) = torch.autograd.grad(
            list(self.transposed.values()),
            self.direction,
            [vector[position] for position in self.transposed],
            # The way back through the outputs is part of this graph.
            retain_graph=True,
            materialize_grads=True,
        )
        (image,) = torch.autograd.grad(
            self.loss_gradient, self.loss_leaf, jacobian_product, retain_graph=keep, allow_unused=True
        )
        if image is None:
            return
        self._add_transposed(image, result, weight, keep)

    def add_gradient(self, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Does result += weight * J'(gradient of the loss in the outputs): 2F."""
        if self.outputs.requires_grad and self.loss_gradient is not None:
            self._add_transposed(self.loss_gradient.detach(), result, weight, keep)

    def _add_transposed(self, image: Tensor, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        products = torch.autograd.grad(self.outputs, self.parameters, image, retain_graph=keep, allow_unused=True)
        for total, product in zip(result, products, strict=True):
            if product is not None:
                total.add_(product, alpha=weight)


def _gradient(loss: Tensor, leaf: Tensor) -> Tensor | None:
    """Of the loss in its outputs, where it depends on them."""
    if not loss.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
    return gradient

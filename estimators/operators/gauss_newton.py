"""The generalised Gauss-Newton matrix of a mean loss, defined by matrix-vector products."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from estimators.operators.curvature import CurvatureOperator
from estimators.operators.graphs.chunk_graph import ChunkGraph, selected
from estimators.problem.checks import LossFunction
from estimators.problem.problem import Problem


class GaussNewtonOperator(CurvatureOperator):
    """G [size, size] = mean over samples of J_n'(d2l_n/dz_n2)J_n: the Hessian without the network's own curvature.

    J_n is the Jacobian of sample n's outputs z_n with respect to the parameters, and l_n is its loss (Schraudolph,
    2002). G is positive semidefinite if the loss is convex in the outputs. For cross-entropy it is the Fisher matrix
    (Martens, 2020). The Hessian is H = G + sum over outputs of dL/dz_c d2z_c. Arguments, order of vectors, subsets,
    product counts, kept graphs and errors are the same as for `estimators.HessianOperator`. A loss that uses parameters
    directly, such as one with a weight penalty, is refused.

    A product costs 7F: 3F for the outputs and the graph of J'u, which is linear in u, 2F to differentiate that graph
    for the product with J, and 2F for the product with J'. With kept graphs a product costs 4F.

    >>> from torch import nn
    >>> model = nn.Linear(3, 1)
    >>> op = GaussNewtonOperator(model, nn.functional.mse_loss, (torch.ones(8, 3), torch.zeros(8, 1)))
    >>> op @ torch.tensor([1.0, 0.0, 0.0, 0.0])
    tensor([2., 2., 2., 2.])
    """

    _needs_second_derivatives = False

    def _graph_of(self, outputs: Tensor, loss: Tensor, loss_fn: LossFunction, targets: Tensor) -> ChunkGraph:
        return _JacobianGraph.of(loss_fn, outputs, targets, self._parameters)

    def _check_loss(self, problem: Problem) -> None:
        problem.check_loss_of_outputs()


@dataclass(frozen=True, eq=False)
class _JacobianGraph(ChunkGraph):
    """A chunk's outputs z, J'u for a placeholder u, and the loss's gradient with respect to z, each with its graph."""

    outputs: Tensor
    direction: Tensor
    """u, shaped like the outputs."""
    transposed: dict[int, Tensor]
    """J'u: maps the position of each parameter that the outputs depend on to its entry."""
    loss_leaf: Tensor
    """The outputs, detached from the network."""
    loss_gradient: Tensor | None
    """Gradient of the loss with respect to ``loss_leaf``; None if the loss does not depend on the outputs."""

    @classmethod
    def of(
        cls, loss_fn: LossFunction, outputs: Tensor, targets: Tensor, parameters: Sequence[Tensor]
    ) -> "_JacobianGraph":
        """Builds the graphs after a forward pass."""
        # Some layers do not support forward-mode AD. This works for every layer that is twice differentiable.
        direction = torch.zeros_like(outputs, requires_grad=True)
        transposed: Sequence[Tensor | None] = []
        if outputs.requires_grad:
            transposed = torch.autograd.grad(outputs, parameters, direction, create_graph=True, allow_unused=True)
        leaf = outputs.detach().requires_grad_()
        depending = {i: t for i, t in enumerate(transposed) if t is not None and t.requires_grad}
        loss, gradient = loss_fn(leaf, targets).reshape(()), None
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        return cls(len(outputs), parameters, outputs, direction, depending, leaf, gradient)

    @property
    def held(self) -> Sequence[Tensor]:
        """All tensors of the graphs."""
        gradient = [] if self.loss_gradient is None else [self.loss_gradient]
        return [self.outputs, self.direction, self.loss_leaf, *gradient, *self.transposed.values()]

    def add_product(self, vector: Sequence[Tensor], result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Adds weight * J'(Hessian of the loss in the outputs)J @ vector to result: 4F."""
        if not self.transposed or self.loss_gradient is None or not self.loss_gradient.requires_grad:
            return
        (jacobian_product,) = torch.autograd.grad(
            list(self.transposed.values()),
            self.direction,
            [vector[position] for position in self.transposed],
            # The product with J' uses the same graph.
            retain_graph=True,
            materialize_grads=True,
        )
        (image,) = torch.autograd.grad(
            self.loss_gradient, self.loss_leaf, jacobian_product, retain_graph=keep, allow_unused=True
        )
        if image is not None:
            self._add_vector_jacobian_product([self.outputs], [image], result, weight, keep)

    def add_gradient(self, result: Sequence[Tensor], weight: float, keep: bool) -> None:
        """Adds weight * J'(gradient of the loss in the outputs) to result: 2F."""
        if self.outputs.requires_grad and self.loss_gradient is not None:
            self._add_vector_jacobian_product([self.outputs], [self.loss_gradient.detach()], result, weight, keep)

    def restricted(self, positions: Sequence[int]) -> "_JacobianGraph":
        """The block of some parameters. Differentiates only their entries of J'u, and only with respect to them."""
        parameters = [self.parameters[position] for position in positions]
        return replace(self, parameters=parameters, transposed=selected(self.transposed, positions))

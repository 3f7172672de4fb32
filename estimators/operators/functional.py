"""The functional Hessian: the Hessian minus the Gauss-Newton matrix."""

from typing import Self

import torch
from torch import Tensor

from estimators.operators.curvature import CurvatureOperator
from estimators.operators.graphs.chunk_graph import ChunkGraph, GradientGraph
from estimators.problem.checks import LossFunction


class FunctionalHessianOperator(CurvatureOperator):
    """H - G [size, size] = mean over samples of sum over outputs of dl_n/dz_c d2z_c (Singh et al., 2021).

    It is the Hessian of the mean of r_n'z_n with r_n = dl_n/dz_n held constant. A product with H - G therefore costs as
    much as a product with H alone, and there is no cancellation. If the network is piecewise linear in each single
    parameter, the trace of H - G is zero, although the matrix is not.
    """

    @classmethod
    def like(cls, op: CurvatureOperator) -> Self:
        """The functional Hessian of ``op``'s problem. It shares op's memory budget and adds to op's product count."""
        return op._view(cls, op.problem, op.chunk_size)

    def _graph_of(self, outputs: Tensor, loss: Tensor, loss_fn: LossFunction, targets: Tensor) -> ChunkGraph:
        if not (loss.requires_grad and outputs.requires_grad):
            return GradientGraph(len(outputs), self._parameters, {})
        (residual,) = torch.autograd.grad(loss, outputs, materialize_grads=True)
        return GradientGraph.of((residual * outputs).sum(), self._parameters, len(outputs))

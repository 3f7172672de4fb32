"""What the network itself curves: the Hessian without the Gauss-Newton matrix, by its products with a vector."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from estimators.operators.graph_cache import ChunkGraph, GradientGraph
from estimators.operators.hessian import HessianOperator
from estimators.problem.checks import LossFunction
from estimators.problem.samples import Pair


class FunctionalHessianOperator(HessianOperator):
    """H - G [size, size] = mean over samples of sum over outputs of dl_n/dz_c d2z_c (Singh et al., 2021).

    It is the Hessian of the mean of r_n'z_n with r_n = dl_n/dz_n held where it stands, so that a product costs what one
    of H does, not one of H and one of G, and nothing is lost in their difference. Its trace is zero where the network
    is piecewise linear in each single parameter, the matrix is not.
    """

    @classmethod
    def beside(cls, op: HessianOperator) -> Self:
        """Of the model, loss and samples of ``op``; its products count there, and both keep to one memory budget."""
        made = cls.__new__(cls)
        made.__dict__.update(vars(op))
        made._parent, made._samples_seen, made._kept = op, 0, None
        return made

    @property
    def model(self) -> nn.Module:
        """Whose outputs z_n are."""
        return self._model

    @property
    def loss_fn(self) -> LossFunction:
        """Of outputs and targets, a mean over samples."""
        return self._loss_fn

    def chunks(self, size: int) -> Iterator[Pair]:
        """The samples that the matrix is a mean over, at most so many at a time."""
        return self._samples.chunks(size, self.device, self._limit)

    def _graph_of(self, outputs: Tensor, loss: Tensor, targets: Tensor) -> ChunkGraph:
        if not (loss.requires_grad and outputs.requires_grad):
            return GradientGraph(len(outputs), {}, self._parameters)
        (residual,) = torch.autograd.grad(loss, outputs, materialize_grads=True)
        return GradientGraph.of((residual * outputs).sum(), self._parameters, len(outputs))
